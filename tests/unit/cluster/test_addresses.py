from itertools import combinations

import pytest

from tests.cluster.addresses import choose


def test_networks_in_use_are_left_alone() -> None:
    assert str(choose(["192.0.2.0/24"]).network) == "10.192.0.0/16"
    assert str(choose(["10.192.0.0/24", "10.193.7.1"]).network) == "10.194.0.0/16"


def test_a_route_to_everywhere_is_no_network_in_use() -> None:
    assert str(choose(["0.0.0.0/0"]).network) == "10.192.0.0/16"


def test_a_machine_without_a_free_network_is_told_so() -> None:
    with pytest.raises(RuntimeError, match=r"tests\.cluster down"):
        choose(["10.0.0.0/8"])


def test_the_parts_of_a_network_do_not_meet() -> None:
    addresses = choose([])
    parts = [addresses.node_pods(1), addresses.node_pods(2), addresses.services]
    assert not any(one.overlaps(other) for one, other in combinations(parts, 2))
    assert all(part.subnet_of(addresses.network) for part in [*parts, addresses.pods])
    # kube-proxy masquerades what comes from outside of the pods' networks: this machine and nodes.
    for outside in (addresses.host, addresses.control_plane, addresses.node(1)):
        assert outside in addresses.network
        assert outside not in addresses.pods
        assert outside not in addresses.services


def test_the_link_has_a_name_that_linux_takes() -> None:
    assert len(choose([]).link) <= 15
