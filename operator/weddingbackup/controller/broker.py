"""Where workers find the broker, and who vouches for it."""

import base64

from weddingbackup.controller.context import Context
from weddingbackup.kube.client import SECRETS
from weddingbackup.resources.tasks import BrokerAccess
from weddingbackup.rules.workload import Problem


class NotReadyError(Exception):
    """No worker can be started yet; that passes by itself.

    Attributes:
        problem: what is so.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


async def access(context: Context) -> BrokerAccess:
    """What a worker's task says of the broker.

    Raises:
        NotReadyError: its certificate has not been made yet.
    """
    name = context.platform.broker_secret
    secret = await context.cluster.get(SECRETS, name, context.home)
    found = ((secret or {}).get("data") or {}).get("ca.crt")
    if not found:
        message = f"The broker's certificate (Secret {name}, key ca.crt) has not been made yet."
        raise NotReadyError(Problem("BrokerNotReady", message))
    return BrokerAccess(
        url=context.platform.broker_url, authorities=base64.b64decode(found).decode()
    )
