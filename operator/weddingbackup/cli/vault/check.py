"""`weddingbackup vault check`: is all there, at every location, and is it what was stored?"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

import click

from weddingbackup.cli.vault import text
from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.vault.affected import affected
from weddingbackup.vault.catalog import points
from weddingbackup.vault.check import Checked, Finding, Level, Problem, examine
from weddingbackup.vault.entries import shown
from weddingbackup.vault.progress import Progress
from weddingbackup.vault.repair import Repaired, needing, repair
from weddingbackup.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weddingbackup.stores.api import Store
    from weddingbackup.vault.kit import Kit
    from weddingbackup.vault.repair import Remove
    from weddingbackup.vault.rotate import Remover

if TYPE_CHECKING:
    from weddingbackup.vault.repair import Remove

_MOST_FILES = 1000


class _Percent(click.ParamType[float]):
    name = "P%"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read `10%`, or `0.5`."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)%?", value)
        if not match or not 0 < float(match[1]) <= 100:  # noqa: PLR2004  per cent
            self.fail(f"{value} is no share: use one like 10%", param, ctx)
        return float(match[1])


@click.command()
@vault_options
@click.option(
    "--provider", is_flag=True, help="Read listings and the providers' checksums (usual)."
)
@click.option("--sample", type=_Percent(), help="Also read and verify this share of the objects.")
@click.option("--seed", default="", help="Chooses another share of the objects.")
@click.option("--full", is_flag=True, help="Read and verify every byte.")
@click.option("--repair", "mend", is_flag=True, help="Replace what is damaged from a good copy.")
def check(
    places: Places, *, provider: bool, sample: float | None, seed: str, full: bool, mend: bool
) -> None:
    """Look for damage: what a recovery point needs and a location lacks, or has differently.

    With --repair, what is missing or damaged is replaced from any location that has it good, the
    replacement is read back, and the bad bytes are removed where no lock holds them. What is good
    nowhere is named, and with it the files of the newest point that need it.

    Ends with 1 where anything is found that is not mended.
    """
    if provider + (sample is not None) + full > 1:
        raise click.UsageError("choose one of --provider, --sample and --full")
    level: Level = "full" if full else "sample" if sample is not None else "provider"
    kit = places.kit()
    stores = places.stores(kit)
    with text.shown(progress := Progress()):
        found = examine(
            stores, level=level, percent=sample or 100, seed=seed, kit=kit, progress=progress
        )
    _tell(places, found)
    mended = Repaired(left=found.findings)
    mended.lost = [each.object for each in found.findings if each.problem is Problem.LOST]
    if mend:
        mended = _mend(places, kit, stores, found)
    if mended.lost:
        _tell_files(Vault.open(kit.keyring(), kit.objects, stores), mended.lost)
    left = len(mended.left) + (len(mended.lost) if mend else 0)
    if left:
        raise click.ClickException(
            f"{left} problem{'' if left == 1 else 's'}"
            + (" left" if mend else "; with --repair, what is good anywhere is put right")
        )


def _tell(places: Places, found: Checked) -> None:
    for place in places.locations:
        mine = [finding for finding in found.findings if finding.location == place.location]
        read = text.size(found.tallies[place.location].bytes)
        count = f"{len(mine) or 'no'} problem{'' if len(mine) == 1 else 's'}"
        archived = found.tallies[place.location].archived
        unread = f", {archived} archived and not read" if archived else ""
        click.echo(f"{place.location}: {count}, {read} read{unread}")
        for finding in mine:
            click.echo(f"  {_line(finding)}")
    for finding in found.findings:
        if not finding.location:
            click.echo(_line(finding))


def _mend(places: Places, kit: Kit, stores: Sequence[Store], found: Checked) -> Repaired:
    with text.shown(progress := Progress()):
        mended = repair(stores, found, remove=_remover(places, kit), progress=progress)
    count = len(mended.replaced)
    click.echo(
        f"{count} object{'' if count == 1 else 's'} replaced and read back, "
        f"{mended.removed} bad cop{'y' if mended.removed == 1 else 'ies'} removed"
    )
    if mended.kept:
        click.echo(f"{mended.kept} bad copies are locked and stay; readers pass over them")
    for finding in mended.left:
        click.echo(f"{finding.location or 'everywhere'}: {_line(finding)}")
    return mended


def _remover(places: Places, kit: Kit) -> Remove:
    """What removes an object at a location."""
    by_name = {place.location: place for place in places.locations}
    keepers: dict[str, Remover] = {}

    def remove(location: str, name: str) -> None:
        if location not in keepers:
            keepers[location] = by_name[location].keeper(kit.prefix)
        keepers[location].delete(name)

    return remove


def _tell_files(vault: Vault, lost: Sequence[str]) -> None:
    """Name what the loss costs in the newest point."""
    click.echo(f"good nowhere: {', '.join(lost)}")
    newest = next(iter(points(vault.stores)), None)
    if newest is None or newest.manifest not in needing(vault.stores, set(lost)):
        click.echo("the newest recovery point needs nothing of that")
        return
    found = affected(vault, newest, lost)
    for each in islice(found, _MOST_FILES):
        path = shown(each.path) if each.path else "."
        click.echo(f"lost in the newest point: {each.source}: {path}{'/…' if each.whole else ''}")
    if next(found, None):
        click.echo("… and more")


def _line(finding: Finding) -> str:
    what = f" {finding.object}:" if finding.object else ""
    return f"{finding.problem}:{what} {finding.message}"
