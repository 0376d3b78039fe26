"""The operator as a process of this machine."""

import asyncio
import os
from collections.abc import Mapping
from typing import ClassVar

from tests.e2e.process import Component
from tests.e2e.world import IMAGE
from weddingbackup import log
from weddingbackup.controller.main import operate, platform


class Operator(Component):
    """The operator, with workers of the image under test."""

    name: ClassVar[str] = "operator"
    command: ClassVar[tuple[str, ...]] = ("tests.e2e.operator_process",)

    def variables(self) -> Mapping[str, str]:
        return {
            "WEDDINGBACKUP_IMAGE": IMAGE,
            "WEDDINGBACKUP_WORKER_SERVICE_ACCOUNT": self.home.keeper,
            "WEDDINGBACKUP_BROKER_URL": self.home.broker_url,
            "WEDDINGBACKUP_BROKER_TLS_SECRET": self.home.broker_tls,
            "WEDDINGBACKUP_BROKER_CA_SECRET": self.home.broker_ca,
        }


def main() -> None:
    log.configure("INFO")
    asyncio.run(operate(platform(os.environ), liveness=None))


if __name__ == "__main__":
    main()
