"""Which recovery point a person means: `latest`, or the beginning of its name."""

from collections.abc import Sequence

import click

from weddingbackup.stores.api import Store
from weddingbackup.vault.catalog import Point, catalog

LATEST = "latest"
_SHORT = 12


def short_name(point: Point) -> str:
    """What people call a point: the beginning of its SHA-256."""
    return point.sha256[:_SHORT]


def find(stores: Sequence[Store], wanted: str) -> Point:
    """The point that is meant.

    `latest` is the newest that a quorum is seen to hold. With most locations gone no point may be;
    then it is the newest that there is, and that is said: its bytes are verified like all others.

    Raises:
        click.ClickException: there is none, or several begin so.
    """
    known = catalog(stores)
    for location, why in known.unanswered.items():
        click.echo(f"warning: {location} does not answer: {why}", err=True)
    for name in known.unreadable:
        click.echo(f"warning: {name} is damaged wherever it is", err=True)
    if not known.points:
        raise click.ClickException("no recovery point was found at these locations")
    if wanted == LATEST:
        committed = [point for point in known.points if point.committed]
        if committed:
            return committed[0]
        newest = known.points[0]
        click.echo(
            f"warning: too few locations answer to know what is committed; {short_name(newest)} of"
            f" {newest.time:%Y-%m-%d %H:%M} UTC is the newest point here",
            err=True,
        )
        return newest
    found = [p for p in known.points if wanted in {p.manifest, p.plain.job_name}]
    found = found or [p for p in known.points if p.sha256.startswith(wanted)]
    if len(found) != 1:
        problem = "several recovery points are" if found else "no recovery point is"
        raise click.ClickException(f"{problem} called {wanted}; `vault snapshots` lists them")
    return found[0]
