"""`weddingbackup rotate-keys`: new keys for the vault of a policy, by an administrator's own rights."""

import asyncio

import click

from weddingbackup.controller import kits, rotation
from weddingbackup.rules.times import rfc3339
from weddingbackup.vault.errors import VaultError


@click.command()
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False),
    help="Which cluster.  [default: KUBECONFIG]",
)
@click.option(
    "--operator-namespace",
    "home",
    envvar="WEDDINGBACKUP_NAMESPACE",
    default="wedding-backup",
    show_default=True,
    help="Where the operator runs.",
)
@click.option("--namespace", "-n", required=True, help="The policy's namespace.")
@click.option("--wrapping-keys", is_flag=True, help="Wrap the data keys anew.")
@click.option("--data-keys", is_flag=True, help="Seal what comes with new data keys.")
@click.option("--finish", is_flag=True, help="Only remove what earlier rotations had to leave.")
@click.argument("policy")
def rotate_keys(
    kubeconfig: str | None,
    home: str,
    namespace: str,
    policy: str,
    *,
    wrapping_keys: bool,
    data_keys: bool,
    finish: bool,
) -> None:
    """Give the vault of POLICY new keys: for wrapping, for what comes, or both [default].

    No stored data is read or changed, and backups under way go on. Asks the locations from here, with
    their Secrets. Kits that were exported before are out of date: export new ones.
    """
    if finish and (wrapping_keys or data_keys):
        raise click.UsageError(
            "--finish makes no new keys: leave out --wrapping-keys and --data-keys"
        )
    neither = not (finish or wrapping_keys or data_keys)

    async def work() -> rotation.Rotated:
        async with kits.administrator(kubeconfig, home) as cluster:
            return await rotation.rotate_keys(
                cluster,
                home,
                namespace=namespace,
                policy=policy,
                wrapping_keys=wrapping_keys or neither,
                data_keys=data_keys or neither,
            )

    try:
        done = asyncio.run(work())
    except (kits.KitsError, VaultError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{namespace}/{policy}: vault {done.kit.vault_id}, its kit now is {done.kit.id}")
    for location, problem in done.locations.items():
        click.echo(f"  {location}: {f'MAY KEEP OLD KEYS: {problem}' if problem else 'done'}")
    for record in done.outdated:
        click.echo(
            f"kit {record.kit} of {record.by}, {rfc3339(record.announced_at)}, is out of date: replace it"
        )
    if done.outdated:
        export = f"weddingbackup recovery-kit export --namespace {namespace} --policy {policy}"
        click.echo(f"new kits: {export} --output kits")
    if done.strangers:
        click.echo(
            f"warning: the locations hold {done.strangers} keys that the vault's Secret does not. Where no"
            " rotation was cut short before, an older Secret was put back: import the newest kit",
            err=True,
        )
    if left := sum(map(bool, done.locations.values())):
        raise click.ClickException(
            f"{left} locations may still hold the data keys as they were wrapped before: later, run"
            f" weddingbackup rotate-keys -n {namespace} {policy} --finish"
        )
