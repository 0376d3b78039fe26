"""`weddingbackup doctor`: whether an installation is sound, and whether what protects it is in effect."""

import asyncio

import click

from weddingbackup.controller.doctor import Grade, run
from weddingbackup.kube.client import ApiError

_SIGNS = {Grade.OK: "ok", Grade.WARNING: "WARNING", Grade.FAILED: "FAILED"}


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
def doctor(kubeconfig: str | None, home: str) -> None:
    """Look at the installation, and try whether what protects it is in effect.

    Forged workers are offered to the API server, which must refuse them (nothing is stored), and a
    short Job in the operator's namespace tries a connection that a NetworkPolicy forbids. Tokens
    are asked for, and thrown away. Namespaces with policies are looked at, too.

    Ends with 1 where something FAILED. A WARNING is something that you should know.
    """
    try:
        findings = asyncio.run(run(kubeconfig, home))
    except ApiError as error:
        raise click.ClickException(f"The cluster cannot be examined: {error}") from None
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        click.echo(f"{_SIGNS[finding.grade]:8} {finding.subject:{width}}  {finding.message}")
    if any(finding.grade is Grade.FAILED for finding in findings):
        raise click.exceptions.Exit(1)
