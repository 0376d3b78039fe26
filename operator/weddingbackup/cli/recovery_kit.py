"""`weddingbackup recovery-kit`: what a person keeps, so that a lost cluster costs no wedding."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from weddingbackup.cli.vault import text
from weddingbackup.cli.vault.location import Location
from weddingbackup.cli.vault.places import location_options, open_stores
from weddingbackup.controller import kits
from weddingbackup.stores.api import Store
from weddingbackup.stores.errors import StoreError
from weddingbackup.vault.catalog import catalog
from weddingbackup.vault.errors import VaultError
from weddingbackup.vault.format import check_format
from weddingbackup.vault.keyring import Keyring
from weddingbackup.vault.kit import Kit
from weddingbackup.vault.manifest import open_body
from weddingbackup.vault.names import FORMAT

Result = TypeVar("Result")

_kubeconfig = click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False),
    help="Which cluster.  [default: KUBECONFIG]",
)
_home = click.option(
    "--operator-namespace",
    "home",
    envvar="WEDDINGBACKUP_NAMESPACE",
    default="wedding-backup",
    show_default=True,
    help="Where the operator runs.",
)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def recovery_kit() -> None:
    """Keep what opens the vaults when the cluster is gone.

    A kit is a small file with the keys of one vault: whoever has it, and can read one location, can
    read all that the vault holds. Keep kits apart from the stores.
    """


@recovery_kit.command()
@_kubeconfig
@_home
@click.option("--namespace", help="The policy's namespace.")
@click.option("--policy", help="Its name.")
@click.option("--all", "everything", is_flag=True, help="All vaults, also of policies long gone.")
@click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory to write kits and locations.yaml into.",
)
def export(
    kubeconfig: str | None,
    home: str,
    namespace: str | None,
    policy: str | None,
    output: Path,
    *,
    everything: bool,
) -> None:
    """Write the kits of vaults into a directory, and where their copies lie.

    Each export is recorded, with your name: an erasure will tell which kits still hold the keys.
    Files are readable by you alone, and are called NAMESPACE.POLICY.KIT.json: none is overwritten.
    """
    if everything == bool(namespace and policy) or bool(namespace) != bool(policy):
        raise click.UsageError("which vaults? Give --namespace and --policy, or --all")
    wanted = (namespace, policy) if namespace and policy else None

    async def work() -> list[kits.Exported]:
        async with kits.administrator(kubeconfig, home) as cluster:
            done = await kits.export(cluster, home, output, policy=wanted)
            for each in done:
                told = each.problem and f"NOT EXPORTED: {each.problem}"
                click.echo(f"{each.namespace}/{each.policy}: {told or each.file}")
            click.echo(f"locations: {await kits.write_sheet(cluster, home, output)}")
            return done

    failed = sum(each.file is None for each in _run(work()))
    if failed:
        raise click.ClickException(f"{failed} kits could not be exported")


@recovery_kit.command()
@_kubeconfig
@_home
def status(kubeconfig: str | None, home: str) -> None:
    """Say of every vault whether an exported kit would open it.

    Also of vaults whose policy or namespace is long gone. Ends with 1 where one is not covered.
    """

    async def work() -> list[kits.Standing]:
        async with kits.administrator(kubeconfig, home) as cluster:
            return await kits.standings(cluster, home)

    found = _run(work())
    if not found:
        click.echo("no vaults yet", err=True)
        return
    click.echo(text.table(("VAULT", "POLICY", "COVERED", "SINCE", "WHY"), [_row(s) for s in found]))
    bare = sum(not standing.coverage.covered for standing in found)
    if bare:
        raise click.ClickException(
            f"{bare} of {len(found)} vaults could not be opened if this cluster were lost; run"
            " weddingbackup recovery-kit export --all --output kits"
        )


@recovery_kit.command()
@location_options
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
def verify(files: Sequence[Path], locations: Sequence[Location]) -> None:
    """Say whether kits are whole, and whether they open what lies at the locations.

    Needs no cluster. Without locations only the kits themselves are looked at: that their keys
    belong together. Ends with 1 where one does not open.
    """
    bad = 0
    for file in files:
        try:
            kit = Kit.from_json(file.read_bytes())
            keyring = kit.keyring()
        except (OSError, VaultError, KeyError, ValueError) as error:
            bad += 1
            click.echo(f"{file}: DOES NOT OPEN: {error}")
            continue
        classes = ", ".join(sorted(kit.wrapping_keys))
        click.echo(f"{file}: kit {kit.id} of vault {kit.vault_id}, with the keys of {classes}")
        answers = [_look(store, keyring) for store in open_stores(locations, kit)]
        for place, (opens, said) in zip(locations, answers, strict=True):
            click.echo(f"  {place.location}: {said}")
            bad += opens is False
        if locations and not any(opens for opens, _ in answers):
            bad += 1
            click.echo("  no location was seen to hold a recovery point that this kit opens")
    if bad:
        raise click.ClickException("not everything opens: see above")


@recovery_kit.command("import")
@_kubeconfig
@_home
@click.option("--namespace", required=True, help="The policy's namespace; it has to exist.")
@click.option("--policy", required=True, help="Its name.")
@click.argument("file", type=_FILE)
def import_(kubeconfig: str | None, home: str, namespace: str, policy: str, file: Path) -> None:
    """Give a new cluster a vault that another one had.

    The policy with this name, applied afterwards, adopts the vault and all its recovery points.
    """
    try:
        kit = Kit.from_json(file.read_bytes())

        async def work() -> None:
            async with kits.administrator(kubeconfig, home) as cluster:
                await kits.bring(cluster, home, kit, namespace=namespace, policy=policy)

        _run(work())
    except VaultError as error:
        raise click.ClickException(f"{file}: {error}") from None
    click.echo(f"vault {kit.vault_id} is that of {namespace}/{policy}: apply the policy now")


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except kits.KitsError as error:
        raise click.ClickException(str(error)) from None


def _row(standing: kits.Standing) -> tuple[str, ...]:
    since = standing.coverage.since
    where = f"{standing.namespace}/{standing.policy}"
    return (
        standing.vault[:12] or "unknown",
        where if standing.served else f"{where} (gone)",
        "yes" if standing.coverage.covered else "NO",
        text.moment(since) if since else "",
        standing.coverage.message,
    )


def _look(store: Store, keyring: Keyring) -> tuple[bool | None, str]:
    """Whether a kit's vault lies there and opens; None where nobody can tell now. And why."""
    try:
        found = check_format(store.get(FORMAT))
        if found != keyring.vault_id:
            return False, f"HOLDS ANOTHER VAULT, {found.hex()}"
        points = catalog([store]).points
        if not points:
            return None, "holds this vault, and no recovery point yet"
        newest = points[0]
        open_body(keyring, newest.manifest, newest.data)
    except StoreError as error:
        return None, f"cannot be read: {error}"
    except VaultError as error:
        return False, f"DOES NOT OPEN: {error}"
    return True, f"opens: {len(points)} points, the newest of {text.moment(newest.time)}"
