"""`weddingbackup operator`: the controller of all kinds, in its own pod."""

import click

from weddingbackup.controller.main import run


@click.command()
def operator() -> None:
    """Run the operator until it is told to stop.

    It reads WEDDINGBACKUP_NAMESPACE (its own), WEDDINGBACKUP_IMAGE and
    WEDDINGBACKUP_WORKER_SERVICE_ACCOUNT (its workers'), and WEDDINGBACKUP_LOG_LEVEL.
    """
    run()
