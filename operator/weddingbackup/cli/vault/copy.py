"""`weddingbackup vault copy`: what one location lacks, from the others."""

from collections.abc import Sequence

import click

from weddingbackup.cli.vault import text
from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.cli.vault.points import look, select
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.copy import copy_points
from weddingbackup.vault.errors import VaultError
from weddingbackup.vault.progress import Progress


@click.command()
@vault_options
@click.argument("points", metavar="[POINT]...", nargs=-1)
def copy(places: Places, points: Sequence[str]) -> None:
    """Catch every location up: give it what it lacks of some POINTs, or of all.

    What a backup left behind, what was deleted, and manifests that are damaged are brought from
    whoever has them; a location that holds nothing yet is filled. Each object is verified on its way.
    """
    stores = places.stores(places.kit())
    known = look(stores, thoroughly=True)
    if not known.points:
        raise click.ClickException("no recovery point was found at these locations")
    wanted = [select(known.points, name) for name in points] or known.points
    answering = [store for store in stores if store.location in known.answered]
    failed = len(stores) - len(answering)
    holders = {point.manifest: set(point.held_by) for point in wanted}
    # Who lacks whole points first: what it gets may be the copy that another one needs.
    for target in sorted(answering, key=lambda s: sum(s.location in h for h in holders.values())):
        elsewhere = [name for name, held_by in holders.items() if held_by - {target.location}]
        damaged = [name for location, name in known.damaged if location == target.location]
        try:
            with text.shown(progress := Progress()):
                result = copy_points(
                    answering, target, elsewhere, damaged=damaged, progress=progress
                )
        except (StoreError, VaultError) as error:
            failed += 1
            click.echo(f"{target.location}: {error}")
        else:
            for name in elsewhere:
                holders[name].add(target.location)
            what = f"{result.objects} object{'' if result.objects == 1 else 's'}"
            click.echo(f"{target.location}: {what} copied, {text.size(result.bytes)}")
    if failed:
        raise click.ClickException(
            f"{failed} of {len(stores)} locations could not be caught up; run it again"
        )
