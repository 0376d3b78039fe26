"""Restores of 1 GiB from seven S3 servers at once, whole and broken, beside restic's from one."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.benchmarks import data, measure, programs, sites
from tests.benchmarks.link import DEAD, STALLED
from tests.benchmarks.measure import Party, Results, Run
from tests.benchmarks.programs import Repository
from tests.benchmarks.sites import COUNT, Site
from tests.benchmarks.upload import SPEED

STRIPE = 16 * data.MIB
"""Bytes a second of a link, where what is measured is how well links are used."""

_FLIP_EVERY = 128 * 1024


def seven(work: Path, rounds: int, *, short: bool) -> Results:
    """restic from one server, ours from seven."""
    with _stored(work, short=short) as (original, places):
        return measure.compare(_beside_restic(work, original, places, places), rounds)


def seven_limited(work: Path, rounds: int, *, short: bool) -> Results:
    """The same, with every link limited."""
    with (
        _stored(work, short=short) as (original, near),
        sites.over_links(work, near, SPEED) as places,
    ):
        return measure.compare(_beside_restic(work, original, near, places), rounds)


def striped(work: Path, rounds: int, *, short: bool) -> Results:
    """Ours over seven limited links, beside the time that the point's packs take on full links."""
    with (
        _stored(work, short=short) as (original, near),
        sites.over_links(work, near, STRIPE) as places,
    ):
        size = sum(file.stat().st_size for file in near[0].objects("packs"))
        parties: dict[str, Party] = {
            "ours": partial(_restore, _ours(work, places), original, work),
            "links": lambda _: {"restore": Run(size / (COUNT * STRIPE))},
        }
        return measure.compare(parties, rounds)


def broken(work: Path, rounds: int, *, short: bool) -> Results:
    """Ours over seven limited links: one leads nowhere, one says nothing, one to damaged objects.

    Beside it, a restore that knows of the four others alone.
    """
    with _stored(work, short=short) as (original, near):
        special = {near[0].name: DEAD, near[1].name: STALLED}
        _damage(near[2])
        with sites.over_links(work, near, STRIPE, special) as places:
            parties: dict[str, Party] = {
                name: partial(_restore, _ours(work, chosen), original, work)
                for name, chosen in (("three broken", places), ("four alone", places[3:]))
            }
            return measure.compare(parties, rounds)


@contextmanager
def _stored(work: Path, *, short: bool) -> Iterator[tuple[Path, list[Site]]]:
    """Seven servers that all hold a point of the data."""
    original = data.original(work, short=short)
    with sites.sites(work) as places:
        repository = programs.with_quorum(_ours(work, places), COUNT)
        measure.run(repository.found, {}, work / "backup.log")
        measure.run(repository.backup(original), {}, work / "backup.log")
        yield original, places


def _ours(work: Path, places: Sequence[Site]) -> Repository:
    return sites.ours(work / "kit.json", places)


def _beside_restic(
    work: Path, original: Path, near: Sequence[Site], places: Sequence[Site]
) -> dict[str, Party]:
    stored = sites.restic("restic", near[0])
    measure.run(stored.found, stored.environment, work / "backup.log")
    measure.run(stored.backup(original), stored.environment, work / "backup.log")
    repositories = {"ours": _ours(work, places), "restic": sites.restic("restic", places[0])}
    return {
        name: partial(_restore, repository, original, work)
        for name, repository in repositories.items()
    }


def _restore(repository: Repository, original: Path, work: Path, turn: str) -> Mapping[str, Run]:
    target = work / f"{turn}.restored"
    log = work / f"{turn}.log"
    run = measure.run(repository.restore(target), repository.environment, log)
    data.require_same(original, repository.restored(target, original), turn)
    shutil.rmtree(target)
    return {"restore": run}


def _damage(site: Site) -> None:
    """Flip bits throughout all objects of a site: no range of any size that is read is good."""
    for file in site.objects("**"):
        with file.open("r+b") as opened:
            for start in range(0, file.stat().st_size, _FLIP_EVERY):
                opened.seek(start + 60)
                byte = opened.read(1)
                if byte:
                    opened.seek(start + 60)
                    opened.write(bytes([byte[0] ^ 0xFF]))
