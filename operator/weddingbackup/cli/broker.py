"""`weddingbackup broker`: hands workers what their jobs need, in its own pods."""

import click

from weddingbackup.broker.main import run


@click.command()
def broker() -> None:
    """Run the broker until it is told to stop.

    It reads WEDDINGBACKUP_NAMESPACE (the operator's), WEDDINGBACKUP_BROKER_TLS (directory of tls.crt
    and tls.key), WEDDINGBACKUP_BROKER_ADDRESS (0.0.0.0:8443) and WEDDINGBACKUP_LOG_LEVEL.
    """
    run()
