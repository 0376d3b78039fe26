"""Which recovery point a person means: `latest`, or the beginning of its name."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from weddingbackup.cli.vault import text
from weddingbackup.rules.points import Standing, is_ahead
from weddingbackup.stores.api import Store
from weddingbackup.vault.catalog import Catalog, Point, catalog, merge
from weddingbackup.vault.entrance import waiting
from weddingbackup.vault.parallel import Patience, choosing

LATEST = "latest"
_SHORT = 12


def short_name(point: Point) -> str:
    """What people call a point: the beginning of its SHA-256."""
    return point.sha256[:_SHORT]


def look(stores: Sequence[Store], *, thoroughly: bool = False) -> Catalog:
    """All points; what stood in the way of knowing more is said.

    A location is given up for silent only where no committed point can be at such ones alone; else all
    are waited for.

    Thoroughly: every location's copies of manifests are read, not only one good copy of each.
    """
    if thoroughly:
        known = merge([catalog([store]) for store in stores])
    else:
        known = catalog(stores, patience=choosing(len(stores)))
        if known.unanswered and known.may_lack_a_point(stores):
            click.echo(f"waiting for {', '.join(known.unanswered)}", err=True)
            known = catalog([waiting(store) for store in stores], patience=Patience(len(stores)))
    for location, why in known.unanswered.items():
        click.echo(f"warning: {location} does not answer: {why}", err=True)
    for name in known.unreadable:
        click.echo(f"warning: {name} is damaged wherever it is", err=True)
    if known.may_lack_a_point(stores):
        others = ", ".join(sorted(known.places(stores) - known.answered))
        click.echo(
            f"warning: a newer point may have been committed where nothing was heard: {others}",
            err=True,
        )
    return known


def find(stores: Sequence[Store], wanted: str) -> Point:
    """The point that is meant; what is not certain about it, and which are newer, is said.

    `latest` is the newest that is committed or possible, and not dated in the future. Where there is
    none, since locations lost their copies, it is the newest that is left: its bytes are verified like
    all others.

    Raises:
        click.ClickException: there is none, or several begin so.
    """
    known = look(stores).points
    if not known:
        raise click.ClickException("no recovery point was found at these locations")
    point = select(known, wanted)
    if point.standing is not Standing.COMMITTED:
        click.echo(f"warning: {_title(point)} {_doubt(point)}", err=True)
    for newer in known[: known.index(point)]:
        state = f"it {_doubt(newer)}" if newer.standing is not Standing.COMMITTED else "committed"
        click.echo(f"warning: there is a newer point, {_title(newer)}: {state}", err=True)
    return point


def select(known: Sequence[Point], wanted: str) -> Point:
    """The point among these, of which there is at least one, the newest first; see `find`.

    Raises:
        click.ClickException: none is called so, or several are.
    """
    if wanted == LATEST:
        now = datetime.now(UTC)
        likely = [p for p in known if p.standing is not Standing.UNCOMMITTED] or known
        return next((p for p in likely if not is_ahead(p.time, now)), likely[0])
    found = [p for p in known if wanted in {p.manifest, p.plain.job_name}]
    found = found or [p for p in known if p.sha256.startswith(wanted)]
    if len(found) != 1:
        problem = "several recovery points are" if found else "no recovery point is"
        raise click.ClickException(f"{problem} called {wanted}; `vault snapshots` lists them")
    return found[0]


def _title(point: Point) -> str:
    return f"{short_name(point)} of {text.moment(point.time)}"


def _doubt(point: Point) -> str:
    """Why it is not certain that a point was committed."""
    quorum = f"{point.plain.quorum} of {', '.join(point.plain.locations)}"
    seen = f"is committed where {quorum} hold it, and was found at {', '.join(point.held_by)}"
    if not point.unsure:
        return seen
    return (
        f"{seen}; {', '.join(point.unsure)} did not answer, or are not given here under that name,"
        " or hold a damaged copy"
    )
