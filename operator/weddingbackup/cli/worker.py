"""`weddingbackup worker`: what the pods of the operator's Jobs run."""

import os
import sys

import click


@click.command()
@click.argument(
    "task", type=click.Choice(["backup", "restore", "copy", "check", "collect", "erase"])
)
def worker(task: str) -> None:
    """Do the TASK that the environment variable WEDDINGBACKUP_TASK describes, as JSON.

    The operator starts this in pods that it lays out. Standard output is a log of JSON lines, some
    of which tell the progress; the report is left in /dev/termination-log.

    Ends with 0 when done, with 3 when trying again cannot help, with 4 when it may.
    """
    # Here and not above: --help is asked far more often than all of this is needed for it.
    from weddingbackup.worker.run import Work, run  # noqa: PLC0415  see above

    sys.exit(run(Work(task), os.environ))
