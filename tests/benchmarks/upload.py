"""Backups of 1 GiB to seven S3 servers at once, beside restic's to one of them.

Servers, links and clients share this machine's processors and its disk: what the client alone uses
is the kernel's account, and what the others used meanwhile is told beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.benchmarks import data, measure, programs, sites
from tests.benchmarks.measure import Party, Results, Run
from tests.benchmarks.sites import COUNT, Site

SPEED = 40e6
"""Bytes a second of a limited link."""


def fanout(work: Path, rounds: int, *, short: bool) -> Results:
    """restic to one server; ours to seven, committed only when all seven hold it."""
    original = data.original(work, short=short)
    with sites.sites(work) as places:
        return measure.compare(_parties(work, original, places), rounds)


def fanout_limited(work: Path, rounds: int, *, short: bool) -> Results:
    """The same, with every link limited."""
    original = data.original(work, short=short)
    with sites.sites(work) as near, sites.over_links(work, near, SPEED) as places:
        return measure.compare(_parties(work, original, places), rounds)


def slow_location(work: Path, rounds: int, *, short: bool) -> Results:
    """Ours alone: until four of seven hold the point, one of the seven at 1 % of the links' speed.

    Beside it, until four of the six others do.
    """
    original = data.original(work, short=short)

    def party(chosen: Sequence[Site], turn: str) -> Mapping[str, Run]:
        kit, log = work / f"{turn}.kit.json", work / f"{turn}.log"
        measure.run(sites.ours(kit, chosen).found, {}, log)
        # Links of its own: on a slow one, what the last run left under way takes a while.
        with sites.over_links(work, chosen, SPEED, {slow.name: SPEED / 100}) as places:
            run = measure.run(sites.ours(kit, places).backup(original), {}, log)
        quorum = replace(run, wall=_arrivals(chosen)[3] - run.began)
        for site in chosen:
            site.empty()
        return {"backup": run, "quorum": quorum}

    with sites.sites(work) as places:
        slow, *others = places
        parties = {"one slow": partial(party, places), "without": partial(party, others)}
        return measure.compare(parties, rounds)


def _parties(work: Path, original: Path, places: Sequence[Site]) -> dict[str, Party]:
    def ours(turn: str) -> Mapping[str, Run]:
        vault = sites.ours(work / f"{turn}.kit.json", places)
        repository = programs.with_quorum(vault, COUNT)
        measure.run(repository.found, {}, work / "ours.log")
        run = measure.run(repository.backup(original), {}, work / "ours.log")
        assert len(_arrivals(places)) == COUNT
        for site in places:
            site.empty()
        return {"backup": run}

    def restic(turn: str) -> Mapping[str, Run]:
        repository = sites.restic(turn, places[0])
        measure.run(repository.found, repository.environment, work / "restic.log")
        run = measure.run(repository.backup(original), repository.environment, work / "restic.log")
        places[0].empty()
        return {"backup": run}

    return {"ours": ours, "restic": restic}


def _arrivals(places: Sequence[Site]) -> list[float]:
    """When the manifest came to rest at each site that has it, in seconds since the epoch."""
    return sorted(file.stat().st_mtime for site in places for file in site.objects("snapshots"))
