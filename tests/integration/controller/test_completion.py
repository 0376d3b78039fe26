"""A backup is completed by what the operator sees at the locations, whatever its worker says."""

import asyncio
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.controller.conftest import SILENT, Home, condition
from weddingbackup.controller import backups
from weddingbackup.controller.handlers import Reconciler
from weddingbackup.kube import jobs, organisations, registry
from weddingbackup.kube.client import BACKUPS, JOBS, LOCATIONS, POLICIES, Object
from weddingbackup.resources import names
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.rules.turns import Bounds
from weddingbackup.vault.kit import Kit

pytestmark = pytest.mark.integration


def phases(backup: Object) -> dict[str, str]:
    return {row["name"][0]: row["phase"] for row in backup["status"]["locations"]}


def messages(backup: Object) -> dict[str, str]:
    return {row["name"][0]: row.get("message", "") for row in backup["status"]["locations"]}


def reason(backup: Object) -> str:
    found: str = condition(backup, "Ready")["reason"]
    return found


def later(home: Home, **time: float) -> Home:
    moment = datetime.now(UTC) + timedelta(**time)
    return Home(replace(home.context, now=lambda: moment), home.namespace, home.store)


async def test_a_manifest_that_a_quorum_is_seen_to_hold_completes_it(home: Home) -> None:
    going = await home.running_backup(answering="abc")
    name = await home.announce("ab")
    await home.end_worker()
    done = await home.settle(BACKUPS, "one")
    assert done["status"]["phase"] == "Completed"
    assert done["status"]["manifest"]["name"] == name
    assert done["status"]["announced"]["pod"] == "p"  # the broker's word stays as it was
    assert phases(done) == {"a": "Committed", "b": "Committed", "c": "Lagging"}
    assert done["status"]["sources"] == going["status"]["sources"]
    # What c missed is copied to it, with credentials and so at home.
    await home.settle(BACKUPS, "one")
    [copy] = await home.jobs("copy")
    assert copy["metadata"]["namespace"] == home.context.home
    assert copy["metadata"]["labels"][names.LABEL_OWNER] == going["metadata"]["uid"]
    assert task(copy)["verify"] is False


def task(job: Object) -> Object:
    [container] = job["spec"]["template"]["spec"]["containers"]
    [text] = [each["value"] for each in container["env"] if each["name"] == "WEDDINGBACKUP_TASK"]
    found: Object = json.loads(text)
    return found


async def test_a_report_alone_commits_nothing(home: Home) -> None:
    await home.running_backup(answering="abc")
    await home.announce("a")
    await home.end_worker()
    failed = await home.settle(BACKUPS, "one")
    assert (failed["status"]["phase"], reason(failed)) == ("Failed", "NoQuorum")
    assert "manifest" not in failed["status"]


async def test_without_an_announcement_it_has_failed(home: Home) -> None:
    await home.running_backup(answering="abc")
    await home.end_worker()
    assert reason(await home.settle(BACKUPS, "one")) == "NothingAnnounced"


@pytest.mark.parametrize(("uid", "quorum"), [("another-job", 2), (None, 1)])
async def test_a_manifest_of_another_backup_or_for_less_commits_nothing(
    home: Home, uid: str | None, quorum: int
) -> None:
    await home.running_backup(answering="abc")
    await home.announce("abc", job_uid=uid, quorum=quorum)
    await home.end_worker()
    assert reason(await home.settle(BACKUPS, "one")) == "ForeignManifest"


async def test_other_bytes_than_were_announced_are_not_there(home: Home) -> None:
    await home.running_backup(answering="abc")
    name = await home.announce("a")
    vault = await home.vault()
    assert vault is not None
    # The name of the manifest, and other bytes: as whoever may write to the bucket could leave them.
    place = home.store.buckets / "weddings" / home.full("b") / vault.kit.prefix / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"other bytes")
    await home.end_worker()
    assert reason(await home.settle(BACKUPS, "one")) == "NoQuorum"


async def test_another_hash_than_was_announced_is_another_manifest(home: Home) -> None:
    await home.running_backup(answering="abc")
    await home.announce("abc")
    await home.set_status(BACKUPS, "one", {"announced": {"sha256": "ab" * 32}})
    await home.end_worker()
    assert reason(await home.settle(BACKUPS, "one")) == "NoQuorum"


async def test_who_is_silent_is_asked_again_and_lags_at_last(home: Home) -> None:
    await home.running_backup(answering="ac")
    await home.announce("ac")
    await home.end_worker()
    asked = await home.settle(BACKUPS, "one")
    assert (asked["status"]["phase"], reason(asked)) == ("Running", "Confirming")
    # The Job may be cleaned away meanwhile: nothing is done again.
    await home.cluster.delete(JOBS, asked["status"]["job"]["name"], home.namespace)
    done = await later(home, seconds=20).settle(BACKUPS, "one")
    assert done["status"]["phase"] == "Completed"
    assert phases(done) == {"a": "Committed", "b": "Lagging", "c": "Committed"}


async def test_too_few_that_answer_fail_it_after_a_while(home: Home) -> None:
    await home.running_backup(answering="a")
    await home.announce("a")
    await home.end_worker()
    asked = await later(home, seconds=60).settle(BACKUPS, "one")
    assert (asked["status"]["phase"], reason(asked)) == ("Running", "Confirming")
    failed = await later(home, minutes=4).settle(BACKUPS, "one")
    assert (failed["status"]["phase"], reason(failed)) == ("Failed", "NoQuorum")


async def test_what_a_location_does_not_check_on_arrival_is_verified_first(home: Home) -> None:
    await home.running_backup(answering="abc", unbound="bc")
    await home.announce("abc")
    await home.end_worker()
    going = await home.settle(BACKUPS, "one")
    assert (going["status"]["phase"], reason(going)) == ("Running", "Verifying")
    assert phases(going) == {"a": "Committed", "b": "Lagging", "c": "Lagging"}
    copies = {task(job)["target"]: job for job in await home.jobs("copy")}
    assert set(copies) == {home.full("b"), home.full("c")}
    assert all(task(job)["verify"] for job in copies.values())
    # Killed here and started again: the same Jobs are found.
    await home.settle(BACKUPS, "one")
    assert len(await home.jobs("copy")) == 2
    await home.end_well(copies[home.full("b")])
    done = await home.settle(BACKUPS, "one")
    assert done["status"]["phase"] == "Completed"
    assert phases(done) == {"a": "Committed", "b": "Committed", "c": "Lagging"}


async def test_one_that_has_much_to_copy_keeps_nobody_elses_verification_away(
    home: Home, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Bounds(all=1, each=1, apart="verification")
    monkeypatch.setattr(backups, "VERIFICATIONS", one)
    for each in (home, other):
        await each.running_backup(answering="abc", unbound="abc")
        await each.announce("abc")
        await each.end_worker()
    greedy = await home.settle(BACKUPS, "one")
    [copy] = await home.jobs("copy")
    held = [each for each in "abc" if home.full(each) != task(copy)["target"]]
    assert all("of this namespace" in messages(greedy)[each] for each in held)
    waiting = await other.settle(BACKUPS, "one")
    assert reason(waiting) == "Verifying"
    assert all("turn" in messages(waiting)[each] for each in "abc")

    await home.end_well(copy)
    for _ in range(3):
        greedy = await home.settle(BACKUPS, "one")
        assert reason(greedy) == "Verifying"
        assert all("turn" in messages(greedy)[each] for each in held)
    await other.settle(BACKUPS, "one")
    await home.settle(BACKUPS, "one")
    owners = [jobs.owner_of(job, home.context.home) for job in await home.jobs("copy")]
    assert sorted(owner.namespace for owner in owners if owner) == sorted(
        [home.namespace, other.namespace]
    )


async def test_copies_keep_no_commit_from_its_verification(
    home: Home, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Bounds(all=1, each=1)
    monkeypatch.setattr(backups, "COPIES", one)
    monkeypatch.setattr(backups, "VERIFICATIONS", replace(one, apart="verification"))
    for each in (home, other):
        await each.running_backup(answering="abc", unbound="bc")
        await each.announce("abc")
        await each.end_worker()
    await home.settle(BACKUPS, "one")
    [verification] = await home.jobs("copy")
    await home.end_well(verification)
    # Its quorum is held: what lacks beyond that is a copy as any other, and has the only place.
    committed = await home.settle(BACKUPS, "one")
    assert committed["status"]["phase"] == "Completed"
    assert len(await home.jobs("copy")) == 2
    await other.settle(BACKUPS, "one")
    owners = [jobs.owner_of(job, home.context.home) for job in await home.jobs("copy")]
    assert [owner.namespace for owner in owners if owner].count(other.namespace) == 1
    # Started anew, the operator counts each where its Job says.
    anew = Home(replace(home.context, lines={}), other.namespace, other.store)
    waiting = await anew.settle(BACKUPS, "one")
    assert len(await home.jobs("copy")) == 3
    assert sum("of this namespace" in messages(waiting)[each] for each in "bc") == 1


async def test_a_commit_whose_worker_failed_afterwards_counts(home: Home) -> None:
    going = await home.running_backup(answering="abc")
    await home.announce("abc")
    name = going["status"]["job"]["name"]
    at_once = {"spec": {"activeDeadlineSeconds": 1}}
    await home.cluster.patch(JOBS, name, home.namespace, at_once)
    async with asyncio.timeout(60):
        while True:
            done = await home.settle(BACKUPS, "one")
            if done["status"]["phase"] != "Running":
                break
            await asyncio.sleep(0.2)
    assert done["status"]["phase"] == "Completed"


async def test_a_worker_that_reports_all_the_time_holds_up_no_decision(home: Home) -> None:
    """The broker writes its words while the operator decides, at each attempt to write."""
    await home.working_policy(schedule={"suspend": True})
    body = await home.add_backup()
    told = {"at": "2026-12-05T12:00:00.123456Z", "bytesDone": 7}
    await home.set_status(BACKUPS, "one", {"reported": told})
    assert await backups.reconcile(home.context, body)
    planned = await home.get(BACKUPS, "one")
    assert planned["status"]["phase"] == "Running"
    assert planned["status"]["reported"] == told
    # However the broker writes a time, it is never the operator's to write it otherwise.
    told = {"at": "2026-12-05T13:00:00+01:00", "bytesDone": 8}
    await home.set_status(BACKUPS, "one", {"reported": told})
    going = await home.settle(BACKUPS, "one")
    assert going["status"]["job"]["uid"]
    assert going["status"]["reported"] == told


async def test_what_works_for_a_backup_goes_with_it(home: Home) -> None:
    await home.running_backup(answering="abc")
    await home.announce("ab")
    await home.end_worker()
    await home.settle(BACKUPS, "one")
    await home.settle(BACKUPS, "one")
    [copy] = await home.jobs("copy")
    reconciler = Reconciler(home.context)
    await reconciler.job_moved(copy)  # its owner is there: it is looked at, and nothing goes
    assert len(await home.jobs("copy")) == 1
    await reconciler.gone("another-uid")
    assert len(await home.jobs("copy")) == 1
    await home.cluster.delete(BACKUPS, "one", home.namespace)
    await home.add_backup()  # a later one of the same name
    await reconciler.job_moved(copy)
    assert await home.jobs("copy") == []


def size_of(home: Home, location: str) -> int:
    there = home.store.buckets / "weddings" / home.full(location)
    return sum(file.stat().st_size for file in there.rglob("*") if file.is_file())


async def account(home: Home) -> int:
    """The bytes that count for the organisation."""
    organisation = await organisations.read(home.cluster, home.namespace)
    rows = await registry.account(home.cluster, home.context.home, organisation.uid)
    return sum(row.bytes for row in rows.values())


async def put_pack(home: Home, where: str, data: bytes = b"x" * 1000) -> None:
    vault = await home.vault()
    assert vault is not None
    for location in where:
        name = f"packs/{hashlib.sha256(data).hexdigest()}"
        home.put(home.full(location), vault.kit.prefix, name, data)


async def test_the_bytes_of_a_vault_are_measured_after_a_backup(home: Home) -> None:
    await home.running_backup(answering="abc")
    await home.announce("abc")
    await put_pack(home, "abc")
    await home.end_worker()
    await home.settle(BACKUPS, "one")
    policy = await home.settle(POLICIES, "wedding")
    assert policy["status"]["storedBytes"] == size_of(home, "a") > 1000
    assert await account(home) == policy["status"]["storedBytes"]
    # What a collection left is listed again, or it would make no room.
    await home.announce("abc")
    collected = {"lastCollection": {"time": "2026-12-05T12:00:00Z", "objects": 1}}
    await home.set_status(POLICIES, "wedding", collected)
    policy = await home.settle(POLICIES, "wedding")
    assert await account(home) == policy["status"]["storedBytes"] == size_of(home, "a")


async def test_what_a_backup_without_a_commit_stored_is_measured(home: Home) -> None:
    await home.running_backup(answering="abc")
    await put_pack(home, "abc")
    assert "storedBytes" not in (await home.settle(POLICIES, "wedding"))["status"]  # under way
    await home.cluster.delete(BACKUPS, "one", home.namespace)
    policy = await home.settle(POLICIES, "wedding")
    assert "newestPoint" not in policy["status"]
    assert policy["status"]["storedBytes"] == 1000 == await account(home)
    # What was signed for may arrive a little later.
    await put_pack(home, "a", b"y" * 500)
    assert (await home.settle(POLICIES, "wedding"))["status"]["storedBytes"] == 1000
    await later(home, minutes=11).settle(POLICIES, "wedding")
    assert await account(home) == 1500


async def test_the_location_where_a_vault_takes_the_most_counts(home: Home) -> None:
    await home.running_backup(answering="abc")
    await home.announce("abc")
    await put_pack(home, "c", b"z" * 2000)
    await home.end_worker()
    await home.settle(BACKUPS, "one")
    policy = await home.settle(POLICIES, "wedding")
    assert policy["status"]["storedBytes"] == size_of(home, "c") == await account(home)
    assert size_of(home, "c") > size_of(home, "a")
    # Where it is silent afterwards, it counts as it did, and that is said.
    silent = {"spec": {"endpoint": SILENT}}
    await home.cluster.patch(LOCATIONS, home.full("c"), None, silent)
    policy = await later(home, minutes=11).settle(POLICIES, "wedding")
    assert await account(home) == size_of(home, "c")
    assert policy["status"]["storedUnlisted"] == [home.full("c")]


async def test_a_vault_that_could_not_be_listed_is_listed_later(home: Home) -> None:
    await home.running_backup(answering="abc")
    await home.announce("abc")
    await home.end_worker()
    await home.settle(BACKUPS, "one")
    for location in "abc":
        silent = {"spec": {"endpoint": SILENT}}
        await home.cluster.patch(LOCATIONS, home.full(location), None, silent)
    policy = await home.settle(POLICIES, "wedding")
    assert policy["status"]["newestPoint"]
    assert "storedBytes" not in policy["status"]
    for location in "abc":
        answering = {"spec": {"endpoint": home.store.endpoint}}
        await home.cluster.patch(LOCATIONS, home.full(location), None, answering)
    assert "storedBytes" not in (await home.settle(POLICIES, "wedding"))["status"]  # not so soon
    policy = await later(home, minutes=11).settle(POLICIES, "wedding")
    assert policy["status"]["storedBytes"] == size_of(home, "a") == await account(home) > 0


async def test_a_vault_from_another_cluster_counts_at_once(home: Home) -> None:
    for name in "abc":
        await home.add_location(name, answers=name in "ab")
    await home.add_claim()
    kit = Kit.found()
    record = KitRecord.model_validate(
        {"kit": "0" * 16, "by": "somebody", "announcedAt": "2026-12-05T12:00:00Z"}
    )
    where = {"namespace": home.namespace, "policy": "wedding"}
    await registry.bring(home.cluster, home.context.home, kit, record, **where)
    await put_pack(home, "b")  # who holds what, no BackupJob here tells
    await home.add_policy(schedule={"suspend": True})
    policy = await home.settle(POLICIES, "wedding")
    assert policy["status"]["storedBytes"] == 1000 == await account(home)


async def test_a_location_that_is_gone_is_not_waited_for(home: Home) -> None:
    await home.running_backup(answering="ab")
    await home.announce("ab")
    await home.cluster.delete(LOCATIONS, home.full("c"))
    await home.end_worker()
    done = await home.settle(BACKUPS, "one")
    assert done["status"]["phase"] == "Completed"
    assert condition(done, "Replicated")["reason"] == "LocationGone"


@pytest.mark.parametrize(
    "lacking", [{"sources": []}, {"job": None}, {"vault": None}, {"announced": None}]
)
async def test_a_backup_of_an_older_operator_fails_once_and_says_what_to_do(
    home: Home, lacking: Object
) -> None:
    await home.running_backup(answering="abc")
    if "announced" in lacking:
        await home.announce("abc")
        await home.end_worker()
        await home.step(BACKUPS, "one")
    await home.set_status(BACKUPS, "one", lacking)
    failed = await home.settle(BACKUPS, "one")
    assert (failed["status"]["phase"], reason(failed)) == ("Failed", "MadeBeforeUpgrade")
    assert "new BackupJob" in failed["status"]["message"]
    assert await home.settle(BACKUPS, "one") == failed
    # Its worker, should it still run, works for nothing.
    assert "announced" in lacking or await home.jobs("backup") == []


async def test_bytes_that_nobody_verified_on_arrival_are_read_before_they_count(
    home: Home,
) -> None:
    """Two of three take any bytes: a Job with credentials reads one's, from those that have the manifest."""
    await home.running_backup(answering="abc", unbound="bc")
    name = await home.announce("ab")  # c has none of it
    await home.end_worker()
    asked = await home.settle(BACKUPS, "one")
    assert (asked["status"]["phase"], reason(asked)) == ("Running", "Verifying")
    assert phases(asked)["a"] == "Committed"
    [verify] = await home.jobs("copy")
    assert verify["metadata"]["namespace"] == home.context.home
    told = task(verify)
    assert told["verify"] is True
    assert (told["target"], told["manifests"]) == (home.full("b"), [name])
    # Only where the manifest was seen: the others would cost time, or give what is not there.
    assert {each["name"] for each in told["locations"]} == {home.full("a"), home.full("b")}
    assert (await home.settle(BACKUPS, "one"))["status"]["phase"] == "Running"
    assert len(await home.jobs("copy")) == 1
    await home.end_well(verify)
    done = await home.settle(BACKUPS, "one")
    assert done["status"]["phase"] == "Completed"
    assert phases(done)["b"] == "Committed"
