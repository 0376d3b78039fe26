"""`weddingbackup vault check`: is all there, at every location, and is it what was stored?"""

import click

from weddingbackup.cli.vault.places import Places, vault_options
from weddingbackup.vault.check import check as examine


@click.command()
@vault_options
@click.option("--full", is_flag=True, help="Read and verify every byte, not only listings.")
def check(places: Places, *, full: bool) -> None:
    """Look for damage: what a recovery point needs and a location lacks, or has differently.

    Without --full this reads listings, manifests and indexes. Ends with 1 where anything is found.
    """
    kit = places.kit()
    findings = examine(places.stores(kit), level="full" if full else "provider", kit=kit)
    for place in places.locations:
        mine = [finding for finding in findings if finding.location == place.location]
        click.echo(f"{place.location}: {len(mine) or 'no'} problem{'' if len(mine) == 1 else 's'}")
        for finding in mine:
            what = f" {finding.object}:" if finding.object else ""
            click.echo(f"  {finding.problem}:{what} {finding.message}")
    for finding in findings:
        if not finding.location:
            click.echo(f"{finding.problem}: {finding.object}: {finding.message}")
    if findings:
        raise click.ClickException(
            f"{len(findings)} problem{'' if len(findings) == 1 else 's'}; a restore takes what is"
            " damaged in one place from another, where a good copy is left"
        )
