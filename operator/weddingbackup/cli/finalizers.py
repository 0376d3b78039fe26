"""`weddingbackup release-finalizers`: so that an uninstalled operator leaves nothing undeletable.

Objects of ours carry a finalizer, which only the operator takes off. Once it is gone for good
nobody would, and they, and with them their namespaces, could never be deleted.
"""

import asyncio

import click

from weddingbackup.controller.finalizers import run


@click.command()
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Which cluster.")
@click.option("--namespace", envvar="WEDDINGBACKUP_NAMESPACE", help="The operator's namespace.")
@click.option(
    "--deployment",
    envvar="WEDDINGBACKUP_DEPLOYMENT",
    help="The operator's Deployment, which is stopped first; or stop it yourself.",
)
def release_finalizers(
    kubeconfig: str | None, namespace: str | None, deployment: str | None
) -> None:
    """Take the operator's finalizer off all objects of ours, in all namespaces.

    A running operator would put it back. Recovery points stay: they are in the stores. A policy
    that was to be erased when deleted is not erased any more.
    """
    try:
        released = asyncio.run(run(kubeconfig, namespace, deployment))
    except TimeoutError:
        raise click.ClickException(f"{deployment} in {namespace} does not stop") from None
    click.echo(f"released {released} objects")
