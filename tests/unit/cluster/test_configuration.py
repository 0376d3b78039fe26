import json
import tomllib
from pathlib import Path

import pytest

from tests import cluster
from tests.cluster import images
from tests.cluster.addresses import choose
from tests.cluster.certificates import Pair
from tests.cluster.control_plane import corefile_text
from tests.cluster.layout import CLUSTERS, State, kubeconfig
from tests.cluster.node import containerd_configuration
from tests.cluster.processes import Process


def test_a_cluster_that_is_given_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/somewhere/config")
    monkeypatch.setenv("TEST_HOST_ADDRESS", "192.0.2.7")
    given = cluster.up("test")
    assert given.kubeconfig == Path("/somewhere/config")
    assert given.host_address == "192.0.2.7"
    with pytest.raises(cluster.ClusterError, match="by your own means"):
        given.load_image(Path("image.tar"))


def test_our_own_kubeconfig_in_the_environment_gives_nothing_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(CLUSTERS / "test" / "kubeconfig"))
    assert cluster._given() is None


def test_containerd_keeps_to_the_nodes_folder_and_changes_nothing_of_the_machine() -> None:
    configuration = tomllib.loads(containerd_configuration(Path("/clusters/node-1")))
    cri = configuration["plugins"]["io.containerd.grpc.v1.cri"]
    assert configuration["root"] == "/clusters/node-1/containerd"
    assert cri["cni"]["conf_dir"] == "/clusters/node-1/cni"
    assert cri["sandbox_image"] == images.PAUSE
    assert cri["disable_apparmor"] is True


def test_names_outside_of_the_cluster_are_answered_without_asking_anybody() -> None:
    blocks = corefile_text(choose([]), Path("/kubeconfig")).split("\n. {")
    assert [block.count("bind 10.192.0.2") for block in blocks] == [1, 1]
    assert "NXDOMAIN" in blocks[1]
    assert "forward" not in "".join(blocks)


def test_a_kubeconfig_holds_everything_in_itself(tmp_path: Path) -> None:
    for name in ("ca", "crt", "key"):
        (tmp_path / name).write_text(name)
    user = Pair(tmp_path / "crt", tmp_path / "key")
    config = json.loads(kubeconfig("https://10.192.0.2:6443", tmp_path / "ca", user))
    assert config["clusters"][0]["cluster"]["certificate-authority-data"] == "Y2E="
    assert config["users"][0]["user"]["client-key-data"] == "a2V5"
    assert config["current-context"] == config["contexts"][0]["name"]


def test_what_runs_is_found_again_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    state = State("10.192.0.0/16", Process(7, 70), {1: Process(8, 80)}, complete=True)
    state.save(path)
    assert State.load(path) == state
    assert State.load(tmp_path / "none.json") is None
