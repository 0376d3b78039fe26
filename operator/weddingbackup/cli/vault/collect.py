"""`weddingbackup vault collect`: what no kept recovery point needs, removed in two runs a grace apart."""

from datetime import timedelta

import click
from pydantic import ValidationError

from weddingbackup.cli.vault import text
from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.resources.fields import format_duration, parse_duration
from weddingbackup.resources.tasks import Kept
from weddingbackup.vault.collect import CollectResult, Told, Wish
from weddingbackup.vault.collect import collect as run


@click.command()
@vault_options
@click.option("--keep-last", required=True, type=click.IntRange(min=1), help="The newest so many.")
@click.option("--hourly", default=0, help="The newest of each of the last so many hours.")
@click.option("--daily", default=0, help="Days, likewise.")
@click.option("--weekly", default=0, help="Weeks, likewise.")
@click.option("--monthly", default=0, help="Months, likewise.")
@click.option("--yearly", default=0, help="Years, likewise.")
@click.option(
    "--window", default="0s", help="Every point of that last time, and the one before it."
)
@click.option("--pin", "pins", multiple=True, metavar="MANIFEST", help="This point as well.")
@click.option(
    "--quorum",
    default=1,
    type=click.IntRange(min=1),
    show_default=True,
    help="The smallest that any point was written with; all locations but that less one must answer.",
)
@click.option(
    "--grace",
    default="24h",
    show_default=True,
    help="Between the run that marks and the one that removes.",
)
@click.option("--dry-run", is_flag=True, help="Only list what goes and why.")
def collect(
    *,
    places: Places,
    keep_last: int,
    window: str,
    pins: tuple[str, ...],
    quorum: int,
    grace: str,
    dry_run: bool,
    **buckets: int,
) -> None:
    """Remove the recovery points that are not to be kept, and what only they need.

    A run removes what an earlier one marked at least a grace ago and is still not needed, and marks
    what is not needed now. The newest committed point always stays, and the last ones do; hours to
    years are those of UTC. A backup that relies on something marked is refused, and its next try is not.

    \b
    weddingbackup vault collect --kit kit.json --directory a --directory b \\
        --keep-last 7 --daily 30 --dry-run
    """  # noqa: D301  \b is click's mark for lines that stay as they are
    try:
        kept = Kept(
            keep_last=keep_last,
            point_in_time_seconds=parse_duration(window).total_seconds(),
            **buckets,
        )
        wish = Wish(kept, quorum, parse_duration(grace), pins=frozenset(pins))
    except ValidationError as error:
        raise click.UsageError(str(error.errors()[0]["msg"])) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    kit = places.kit()
    keepers = {place.location: place.keeper(kit.prefix) for place in places.locations}
    result = run(
        places.stores(kit),
        lambda location, name: keepers[location].delete(name),
        wish,
        dry_run=dry_run,
        tell=_line if dry_run else lambda _: None,
    )
    _totals(result, wish.grace, dry_run=dry_run)


def _line(told: Told) -> None:
    if told.location:
        click.echo(f"{told.location}  {told.name}  {text.size(told.size)}  {told.why}")
    else:
        click.echo(f"keep  {told.name}  {told.why}")


def _totals(result: CollectResult, grace: timedelta, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    click.echo(
        f"{_count(result.points, 'point')} and {_count(result.objects, 'object')} {would}removed,"
        f" {text.size(result.bytes)}; {_count(result.kept, 'point')} kept"
    )
    if result.marked:
        click.echo(
            f"{_count(result.marked, 'object')} {would}marked: a run {format_duration(grace)} later removes what"
            " is not needed then"
        )
    if result.locked:
        click.echo(f"{_count(result.locked, 'object')} locked, or not allowed to be removed")
    if result.failed:
        for location, why in result.failed.items():
            click.echo(f"{location}: {why}")
        raise click.ClickException(
            f"{len(result.failed)} locations were not swept to the end; a later run goes on"
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
