"""The operator as a process of this machine, so that a test can kill it between any two lines."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.home import Home
from weddingbackup import log
from weddingbackup.controller.main import operate, platform


@dataclass
class Operator:
    """Starts, and dies without warning."""

    home: Home
    image: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        variables = {
            **os.environ,
            "KUBECONFIG": str(self.home.kubeconfig("operator")),
            "WEDDINGBACKUP_NAMESPACE": self.home.namespace,
            "WEDDINGBACKUP_IMAGE": self.image,
            "WEDDINGBACKUP_WORKER_SERVICE_ACCOUNT": self.home.keeper,
            "WEDDINGBACKUP_BROKER_URL": self.home.broker_url,
            "WEDDINGBACKUP_BROKER_TLS_SECRET": self.home.broker_tls,
            "WEDDINGBACKUP_BROKER_CA_SECRET": self.home.broker_ca,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.operator_process"],
                env=variables,
                stdout=out,
                stderr=out,
            )

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def running(self) -> Iterator["Operator"]:
        self.start()
        try:
            yield self
        finally:
            self.kill()


def main() -> None:
    log.configure("INFO")
    asyncio.run(operate(platform(os.environ), liveness=None))


if __name__ == "__main__":
    main()
