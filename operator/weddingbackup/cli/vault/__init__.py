"""`weddingbackup vault`: the data engine in one's own hands, without any cluster.

A vault's kit and one location with its objects are enough to bring everything back.
"""

from typing import Any

import click

from weddingbackup.cli.lazy import Lazy, LazyGroup

_HERE = "weddingbackup.cli.vault"
_COMMANDS = {
    "init": Lazy(f"{_HERE}.init:init", "Found a vault and write its kit."),
    "backup": Lazy(f"{_HERE}.backup:backup", "Make a recovery point."),
    "snapshots": Lazy(f"{_HERE}.snapshots:snapshots", "List the recovery points."),
    "ls": Lazy(f"{_HERE}.ls:ls", "List the files of a point."),
    "restore": Lazy(f"{_HERE}.restore:restore", "Bring a source of a point back."),
    "check": Lazy(f"{_HERE}.check:check", "Look for damage at the locations."),
    "copy": Lazy(f"{_HERE}.copy:copy", "Catch locations up from the others."),
    "collect": Lazy(f"{_HERE}.collect:collect", "Remove what no kept recovery point needs."),
    "tier": Lazy(f"{_HERE}.tier:tier", "Move old data to cheaper tiers, or ask it back."),
    "rotate": Lazy(f"{_HERE}.rotate:rotate", "Give the vault new keys, and write its new kit."),
}


class _VaultGroup(LazyGroup):
    """Tells what went wrong in a line for people, where it is one that was foreseen."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            # Here and not above, as with the commands: few calls get this far.
            from weddingbackup.worker.errors import ending  # noqa: PLC0415  see above

            end = ending(error)
            if not end.expected:
                raise
            raise click.ClickException(end.message) from None


@click.group(cls=_VaultGroup, lazy=_COMMANDS)
def vault() -> None:
    """Back up, look and restore without any cluster.

    \b
    All commands need the vault's kit (--kit) and its locations:
      --directory DIR    a directory; may be given several times
      --locations FILE   YAML, with buckets and their credentials

    The kit opens everything. Keep it apart from the stores, and readable by you alone.
    """  # noqa: D301  \b is click's mark for lines that stay as they are
