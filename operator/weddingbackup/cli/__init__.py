"""One program, one image: the operator, its workers, and the vault for whoever has no cluster.

Exit codes: 0 done, 1 failed, 2 wrong usage; a worker's are in `resources.reports`.
"""

import click

from weddingbackup.cli.lazy import Lazy, LazyGroup

_COMMANDS = {
    "operator": Lazy("weddingbackup.cli.operator:operator", "Run the operator in a cluster."),
    "broker": Lazy("weddingbackup.cli.broker:broker", "Hand workers what their jobs need."),
    "worker": Lazy("weddingbackup.cli.worker:worker", "Do one task, in a pod that it made."),
    "vault": Lazy("weddingbackup.cli.vault:vault", "Back up and restore without any cluster."),
    "recovery-kit": Lazy(
        "weddingbackup.cli.recovery_kit:recovery_kit", "Keep what recovers with the cluster gone."
    ),
    "rotate-keys": Lazy(
        "weddingbackup.cli.rotate_keys:rotate_keys", "Give a policy's vault new keys."
    ),
    "doctor": Lazy("weddingbackup.cli.doctor:doctor", "Look whether the installation is sound."),
    "crds": Lazy("weddingbackup.cli.crds:crds", "Write the definitions of our kinds."),
    "release-finalizers": Lazy(
        "weddingbackup.cli.finalizers:release_finalizers",
        "Let our objects be deleted without the operator.",
    ),
}


@click.group(
    cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="wedding-backup-operator", prog_name="weddingbackup")
def main() -> None:
    """Protect weddings: several verified, encrypted copies in several clouds, and a way back."""
