"""`weddingbackup vault tier`: data that only old points need, moved where it costs less; or asked back."""

from dataclasses import replace
from datetime import timedelta

import click

from weddingbackup.cli.vault import away, text
from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.cli.vault.points import find, short_name
from weddingbackup.resources.fields import parse_duration
from weddingbackup.resources.words import Tier
from weddingbackup.rules.tiers import RECENT, Wish
from weddingbackup.vault.tier import Shelf, TierResult, Told
from weddingbackup.vault.tier import tier as run


@click.command()
@vault_options
@click.option("--tier", "wanted", type=click.Choice([str(x) for x in Tier]), help="Where to.")
@click.option(
    "--at", multiple=True, metavar="LOCATION", help="Only there; may be given several times."
)
@click.option(
    "--recent",
    default=f"{RECENT.days * 24}h",
    show_default=True,
    help="What points of that last time need stays hot.",
)
@click.option(
    "--quorum",
    default=1,
    type=click.IntRange(min=1),
    show_default=True,
    help="The smallest that any point was written with; all locations but that less one must answer.",
)
@click.option("--return", "back", metavar="POINT", help="Ask back what of this point is archived.")
@click.option("--source", "sources", multiple=True, help="Only of this source (with --return).")
@click.option("--dry-run", is_flag=True, help="Only list what would move, or be asked for.")
def tier(
    *,
    places: Places,
    wanted: str | None,
    at: tuple[str, ...],
    recent: str,
    quorum: int,
    back: str | None,
    sources: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Move the data that only older points need to a tier, or ask it back.

    A location without the tier takes the next warmer that it has; a directory has none. Manifests,
    indexes, keys and trees stay at hand, and so does what a recent point needs: where that lies
    colder it is warmed up, and asked back first where it has to be, which another run completes.

    What lies in an archive of S3 or Azure is away for hours. `vault snapshots` shows what is, and
    --return asks for it, each object where it is back soonest and at no location twice.

    \b
    weddingbackup vault tier --kit kit.json --locations locations.yaml --tier Cold --dry-run
    weddingbackup vault tier --kit kit.json --locations locations.yaml --return latest
    """  # noqa: D301  \b is click's mark for lines that stay as they are
    if back is not None and wanted is None:
        _ask_back(places, back, sources, dry_run=dry_run)
        return
    if wanted is None or back is not None:
        raise click.UsageError("give --tier, to move, or --return, to ask back")
    if sources:
        raise click.UsageError("--source goes with --return")
    kit = places.kit()
    shelves = places.shelves(kit)
    if unknown := set(at) - {place.location for place in places.locations}:
        raise click.UsageError(f"there is no location {', '.join(sorted(unknown))} here")
    chosen = {name: shelf for name, shelf in shelves.items() if not at or name in at}
    if not chosen:
        raise click.UsageError("no location with tiers: directories have none")
    try:
        wish = Wish(Tier(wanted), parse_duration(recent))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    result = run(
        places.stores(kit),
        _wishing(chosen, wish),
        quorum=quorum,
        dry_run=dry_run,
        tell=_line if dry_run else lambda _: None,
    )
    _totals(result, wish.recent, dry_run=dry_run)


def _wishing(shelves: dict[str, Shelf], wish: Wish) -> dict[str, Shelf]:
    return {name: replace(shelf, wish=wish) for name, shelf in shelves.items()}


def _ask_back(places: Places, wanted: str, sources: tuple[str, ...], *, dry_run: bool) -> None:
    kit = places.kit()
    stores = places.stores(kit)
    point = find(stores, wanted)
    if unknown := set(sources) - {source.name for source in point.sources}:
        raise click.ClickException(f"this point has no source {', '.join(sorted(unknown))}")
    archived = away.look(places, kit, stores)
    found = archived.of(point, sources)
    if not found:
        click.echo("nothing of that is archived wherever it is")
        return
    for each in found:
        click.echo(away.line(each, short_name(point)))
    if dry_run:
        return
    movers = {name: shelf.mover for name, shelf in places.shelves(kit).items()}
    asked = archived.ask_back(point, movers, sources)
    click.echo(f"{_count(asked, 'object')} asked for")


def _line(told: Told) -> None:
    was = told.tier or "unknown"
    click.echo(
        f"{told.location}  {told.name}  {text.size(told.size)}  {told.decision.step}:"
        f" {was} to {told.decision.tier}"
    )


def _totals(result: TierResult, recent: timedelta, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    for tier, count in sorted(result.moved.items()):
        click.echo(f"{_count(count, 'object')} {would}moved to {tier}")
    click.echo(
        f"{text.size(result.bytes)} {would}moved; all that points of the last {recent.days} days need stays hot"
    )
    if result.asked:
        click.echo(f"{_count(result.asked, 'object')} {would}asked back: a later run warms them up")
    if result.waiting:
        click.echo(f"{_count(result.waiting, 'object')} asked back before, and not there yet")
    if result.locked:
        click.echo(f"{_count(result.locked, 'object')} locked, or not allowed to be moved")
    if result.failed:
        for location, why in result.failed.items():
            click.echo(f"{location}: {why}")
        raise click.ClickException(
            f"{_count(len(result.failed), 'location')} not done to the end; a later run goes on"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
