"""`weddingbackup vault snapshots`: the recovery points, as the manifests in the stores say."""

import json
from typing import Any

import click

from weddingbackup.cli.vault import away, text
from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.cli.vault.points import look, short_name
from weddingbackup.rules.points import Standing
from weddingbackup.rules.tiers import Away, about
from weddingbackup.vault.archived import Archived
from weddingbackup.vault.catalog import Point

_HEAD = ("POINT", "TIME", "SOURCES", "SIZE", "AT HAND", "COPIES", "COMMITTED")
_COMMITTED = {
    Standing.COMMITTED: "yes",
    Standing.POSSIBLE: "possible",
    Standing.UNCOMMITTED: "no",
}


@click.command()
@vault_options
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def snapshots(places: Places, output: str) -> None:
    """List the recovery points, newest first.

    COPIES are the locations seen to hold it, of those that it was written for. COMMITTED says
    whether they are a quorum: `possible` where that cannot be told, since others do not answer, are
    not given here under their name, or hold a damaged copy. Such a point can be restored all the same.
    AT HAND says what is archived wherever it is, and how long it takes to come back once it is asked
    for (`vault tier --return POINT`).
    """
    kit = places.kit()
    stores = places.stores(kit)
    found = look(stores)
    archived = away.look(places, kit, stores)
    if output == "json":
        documents = [_document(point, archived.of(point)) for point in found.points]
        click.echo(json.dumps(documents, indent=2))
    elif found.points:
        click.echo(text.table(_HEAD, [_row(point, archived) for point in found.points]))
    else:
        click.echo("no recovery points yet", err=True)


def _row(point: Point, archived: Archived) -> tuple[str, ...]:
    return (
        short_name(point),
        text.moment(point.time),
        ",".join(source.name for source in point.sources),
        text.size(sum(source.bytes for source in point.sources)),
        "; ".join(map(_at_hand, archived.of(point))) or "yes",
        f"{len(point.held_by)}/{len(point.plain.locations)}",
        _COMMITTED[point.standing],
    )


def _at_hand(found: Away) -> str:
    state = "asked back: " if found.asked else ""
    return f"{found.source}: {state}{about(found.seconds)}"


def _document(point: Point, archived: list[Away]) -> dict[str, Any]:
    return {
        "point": short_name(point),
        "manifest": point.manifest,
        "sha256": point.sha256,
        "job": {"name": point.plain.job_name, "uid": point.plain.job_uid},
        "startedAt": text.moment(point.started_at),
        "time": text.moment(point.time),
        "sources": [
            {
                "name": source.name,
                "dataClass": source.data_class,
                "files": source.files,
                "bytes": source.bytes,
            }
            for source in point.sources
        ],
        "locations": list(point.plain.locations),
        "heldBy": list(point.held_by),
        "quorum": point.plain.quorum,
        "unsure": list(point.unsure),
        "standing": point.standing,
        "archived": [
            {
                "source": found.source,
                "packs": found.packs,
                "bytes": found.bytes,
                "seconds": found.seconds,
                "locations": list(found.locations),
                "asked": found.asked,
            }
            for found in archived
        ],
    }
