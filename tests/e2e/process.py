"""A component as a process of this machine, so that a test can kill it between any two lines."""

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from tests.home import Home

_SHOWN = 60
"""Lines of a component's log beside a failure."""


@dataclass
class Component(ABC):
    """Starts, and dies without warning.

    Attributes:
        name: the chart's, by which its account is called.
        command: what Python runs.
    """

    name: ClassVar[str]
    command: ClassVar[tuple[str, ...]]

    home: Home
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def variables(self) -> Mapping[str, str]:
        """What the chart's Deployment puts into its environment."""

    def start(self) -> None:
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.home.kubeconfig(self.name)),
            "WEDDINGBACKUP_NAMESPACE": self.home.namespace,
            "PYTHONPATH": os.pathsep.join(sys.path),
            **self.variables(),
        }
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.command], env=environment, stdout=out, stderr=out
            )

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def running(self) -> Iterator[Self]:
        self.start()
        try:
            yield self
        finally:
            self.kill()
            # Pytest shows this beside a failure, and throws it away otherwise.
            print("\n".join(self.log.read_text(errors="replace").splitlines()[-_SHOWN:]))
