from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.facts import NOON
from weddingbackup.resources.recovery_kit import KitRecord
from weddingbackup.rules import kits
from weddingbackup.vault.kit import Kit

KEYS = {"Vault": "a" * 16, "Guests": "b" * 16}


def record(kit: str = "1" * 16, by: str = "ada", **more: Any) -> KitRecord:
    told = {"keys": KEYS, "announced_at": NOON, "written_at": NOON, **more}
    return KitRecord(kit=kit, by=by, **told)


class TestCoverage:
    def test_a_written_kit_with_all_keys_covers_since_the_first_one(self) -> None:
        later = record(by="bob", written_at=NOON + timedelta(days=1))
        found = kits.coverage([later, record()], KEYS)
        assert (found.covered, found.since, found.reason) == (True, NOON, "Exported")
        assert "bob" in found.message

    def test_one_that_was_only_announced_covers_nothing(self) -> None:
        found = kits.coverage([record(written_at=None)], KEYS)
        assert (found.covered, found.reason) == (False, "NeverExported")

    def test_a_changed_key_leaves_the_vault_uncovered_and_is_named(self) -> None:
        found = kits.coverage([record()], {**KEYS, "Guests": "c" * 16})
        assert (found.covered, found.reason) == (False, "KeysChanged")
        assert found.message.endswith("of Guests.")

    def test_a_class_that_was_erased_leaves_older_kits_good(self) -> None:
        assert kits.coverage([record()], {"Vault": KEYS["Vault"]}).covered

    def test_a_vault_without_keys_is_covered_by_nothing(self) -> None:
        assert not kits.coverage([record()], {}).covered


def test_the_condition_names_the_very_command() -> None:
    verdict = kits.exported([], KEYS, namespace="bella", policy="w-1")
    assert (verdict.type, verdict.status) == ("KitExported", False)
    command = "weddingbackup recovery-kit export --namespace bella --policy w-1 --output kits"
    assert verdict.message.endswith(command)
    assert kits.exported([record()], KEYS, namespace="n", policy="p").status


@given(st.lists(st.tuples(st.sampled_from("12"), st.sampled_from("xyz")), unique=True))
def test_every_kit_and_person_is_told_of_once(whose: list[tuple[str, str]]) -> None:
    records = [record(digit * 16, by) for digit, by in whose]
    found = kits.recorded({**dict(map(kits.annotation, records)), "other/key": "{}"})
    assert sorted(found, key=repr) == sorted(records, key=repr)


def test_a_damaged_record_is_told_of_and_covers_nothing() -> None:
    key, _ = kits.annotation(record())
    [found] = kits.recorded({key: "{"})
    assert (found.kit, found.by) == ("1" * 16, "unknown")
    assert not kits.coverage([found], KEYS).covered
    [other] = kits.recorded({key.replace("1" * 16, "no kit"): "{"})
    assert other.by == "unknown"
    beyond = record().to_json().replace("2026-", "9999-", 1)
    [far] = kits.recorded({key: beyond})
    assert far.by == "unknown"


def test_an_erasure_names_all_kits_also_those_that_may_not_be() -> None:
    assert kits.remaining([]) is None
    told = kits.remaining([record(), record("2" * 16, "bob", written_at=None)])
    assert told is not None
    assert "1" * 16 in told
    assert f"{'2' * 16} (bob" in told
    assert "perhaps never written" in told


class TestFingerprints:
    def test_each_class_has_its_own_and_they_tell_no_key(self) -> None:
        kit = Kit.found()
        marks = kit.fingerprints()
        assert marks.keys() == kit.wrapping_keys.keys()
        assert len(set(marks.values())) == len(marks)
        assert Kit.from_json(kit.to_json()).fingerprints() == marks

    def test_another_wrapping_key_or_data_key_changes_its_class_alone(self) -> None:
        kit, other = Kit.found(), Kit.found()
        changed = {**kit.wrapping_keys, "Guests": other.wrapping_keys["Guests"]}
        name = next(n for n in other.objects if n.startswith("keys/timeline-"))
        more = {**kit.objects, name: other.objects[name]}
        after = Kit(kit.vault_id, kit.prefix, changed, more).fingerprints()
        differing = {name for name, mark in kit.fingerprints().items() if after[name] != mark}
        assert differing == {"Guests", "Timeline"}
