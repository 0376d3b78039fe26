"""`rotate-keys` in a real cluster: who reads what, who wins, and what the status says afterwards."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.controller.conftest import Home, condition
from weddingbackup.controller import rotation
from weddingbackup.controller.kits import KitsError
from weddingbackup.kube import registry
from weddingbackup.kube.client import POLICIES, SECRETS, Object
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.vault import rotate
from weddingbackup.vault.errors import QuorumError
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.names import data_key_name

pytestmark = pytest.mark.integration

NOW = datetime(2026, 12, 5, tzinfo=UTC)


async def vault(home: Home) -> registry.Registered:
    found = await home.vault()
    assert found is not None
    return found


async def secret(home: Home) -> Object:
    found = await home.cluster.get(SECRETS, (await vault(home)).secret, home.context.home)
    assert found is not None
    return found


def hold(home: Home, kit: Kit, where: str) -> None:
    """Found the vault at some locations, as a backup does."""
    for each in where:
        for name, data in kit.objects.items():
            home.put(home.full(each), kit.prefix, name, data)


async def turn(home: Home, **kinds: bool) -> rotation.Rotated:
    kinds = {"wrapping_keys": True, "data_keys": True, **kinds}
    return await rotation.rotate_keys(
        home.cluster, home.context.home, namespace=home.namespace, policy="wedding", **kinds
    )


async def keys_at(home: Home, kit: Kit, location: str) -> set[str]:
    places, _ = await rotation._places(home.cluster, home.context.home, kit)
    names: set[str] = set()
    for place in places:
        if place.keeper.location == home.full(location):
            names = {info.name for info in place.keeper.list("keys/")}
        place.keeper.close()
    return names


async def test_a_rotation_replaces_the_kit_and_old_kits_cover_no_more(home: Home) -> None:
    await home.working_policy(answering="abc")
    before = await vault(home)
    hold(home, before.kit, "ab")
    marks = before.kit.fingerprints()
    told = KitRecord(kit=before.kit.id, by="ada", keys=marks, announced_at=NOW, written_at=NOW)
    await registry.record(home.cluster, home.context.home, before.secret, told)
    assert condition(await home.settle(POLICIES, "wedding"), "KitExported")["status"] == "True"

    done = await turn(home)
    after = await vault(home)
    assert after.kit == done.kit != before.kit
    assert set(before.kit.keyring().keys) < set(after.kit.keyring().keys)
    mine = {home.full(each) for each in "ab"}
    assert {name: done.locations.get(name) for name in mine} == dict.fromkeys(mine, "")
    assert [record.kit for record in done.outdated] == [before.kit.id]
    for each in "ab":
        assert await keys_at(home, after.kit, each) == after.kit.objects.keys() - {"format"}
    assert not await keys_at(home, after.kit, "c")
    found = condition(await home.settle(POLICIES, "wedding"), "KitExported")
    assert (found["status"], found["reason"]) == ("False", "KeysChanged")
    assert "lacks the present keys of Contracts, Guests" in found["message"]
    # Nothing but the kit has changed: records stay, so an erasure names the old kit, too.
    assert after.exported == (told,)
    assert (after.founded, after.kit.vault_id) == (before.founded, before.kit.vault_id)


async def test_of_two_at_once_one_stands_and_the_other_leaves_nothing(home: Home) -> None:
    await home.working_policy(answering="abc")
    hold(home, (await vault(home)).kit, "abc")
    done = await asyncio.gather(turn(home), turn(home), return_exceptions=True)
    good = [each for each in done if isinstance(each, rotation.Rotated)]
    bad = [each for each in done if isinstance(each, KitsError)]
    after = (await vault(home)).kit
    assert after in [each.kit for each in good]
    # Either they met, or one came whole after the other.
    assert (len(good), len(bad)) in {(1, 1), (2, 0)}
    await turn(home, wrapping_keys=False, data_keys=False)
    for each in "abc":
        assert await keys_at(home, after, each) == after.objects.keys() - {"format"}


async def test_whose_write_comes_second_takes_back_what_it_stored(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.working_policy(answering="abc")
    hold(home, (await vault(home)).kit, "abc")
    stored = rotate.establish
    others: list[Kit] = []

    def meanwhile(kit: Kit, stores: Any) -> Any:
        taken = stored(kit, stores)
        monkeypatch.setattr(rotate, "establish", stored)
        others.append(asyncio.run_coroutine_threadsafe(turn(home), loop).result().kit)
        return taken

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(rotate, "establish", meanwhile)
    with pytest.raises(KitsError, match="at the same time"):
        await turn(home)
    [other] = others
    assert (await vault(home)).kit == other
    for each in "abc":
        assert await keys_at(home, other, each) == other.objects.keys() - {"format"}


async def test_a_kit_that_is_recorded_meanwhile_does_not_count_as_a_rotation(home: Home) -> None:
    await home.working_policy()
    read = await secret(home)
    kit = registry.registered(read).kit
    told = KitRecord(kit=kit.id, by="ada", keys=kit.fingerprints(), announced_at=NOW)
    place = (home.cluster, home.context.home)
    await registry.record(*place, read["metadata"]["name"], told)
    new = rotate.renew(kit, wrapping_keys=True, data_keys=False)
    assert await registry.replace_kit(*place, read, new)
    assert (await vault(home)).exported == (told,)
    assert not await registry.replace_kit(*place, read, kit)
    await registry.destroy(*place, namespace=home.namespace, policy="wedding")
    assert not await registry.replace_kit(*place, read, kit)
    assert await home.vault() is None


async def test_too_few_locations_leave_the_kit_as_it_is(home: Home) -> None:
    await home.working_policy(answering="a")
    before = await vault(home)
    hold(home, before.kit, "a")
    with pytest.raises(QuorumError, match="no majority"):
        await turn(home)
    assert (await vault(home)).kit == before.kit
    assert await keys_at(home, before.kit, "a") >= {
        n for n in before.kit.objects if data_key_name(n)
    }


async def test_a_policy_without_a_vault_is_told_of(home: Home) -> None:
    with pytest.raises(KitsError, match="no vault of policy wedding"):
        await turn(home)
