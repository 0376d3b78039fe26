"""Recovery in stages: what moves data waits until its stage's turn has come, by the request's status.

A worker of a later stage may do all that moves no data, and no more: were it to ask for more in other
words, it would be refused all the same. Whoever waits asks once, and is answered when the turn comes
(docs/decisions/0024).
"""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Response

from weddingbackup.broker.remembered import Remembered
from weddingbackup.broker.scope import RefusedError, Scope
from weddingbackup.kube.client import JOBS, REQUESTS, ApiError, Cluster
from weddingbackup.resources.broker import RefusalCode, Turn
from weddingbackup.resources.common import DataClass
from weddingbackup.resources.recovery_request import RecoveryRequest
from weddingbackup.rules import identity, stages
from weddingbackup.rules.identity import Reference, UnknownError

_LOOK_SECONDS = 0.4
"""So old may be what is known of a status; twice that passes at most until an open gate is noticed."""
_HOLD_SECONDS = 10.0
"""How long a question waits for its answer: a broker that is told to stop waits for it, too."""
_HELD = 512
"""Questions that wait at once; others are answered as it is, and their workers come again."""
_HELD_A_NAMESPACE = 128
"""So that one organisation leaves room for others."""


class Turns(Protocol):
    """Knows which stage a job waits for."""

    async def waits_for(self, scope: Scope) -> DataClass | None:
        """The stage that the job waits for now; None where it may move data.

        Raises:
            RefusedError: the job is no longer under way, or nobody can tell for now.
        """


class KubernetesTurns:
    """`Turns` that goes by the status of the RecoveryRequest; all its workers are told by one look."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._seen = Remembered[str, RecoveryRequest](_LOOK_SECONDS, clock)
        self._looking: dict[str, asyncio.Task[RecoveryRequest]] = {}

    async def waits_for(self, scope: Scope) -> DataClass | None:
        """See `Turns.waits_for`."""
        if scope.waits_for is None:
            return None  # a gate that has opened never closes
        request = self._seen.get(scope.owner.uid) or await self._look(scope)
        owner = Reference(REQUESTS.kind, scope.namespace, scope.owner.name, scope.owner.uid)
        job = Reference(JOBS.kind, scope.namespace, "", scope.job_uid)
        try:
            row = identity.recovery_under_way(owner, job, request)
        except UnknownError as error:
            raise RefusedError(RefusalCode.UNKNOWN_WORKER, str(error)) from None
        return stages.waits_for(request.status, row.data_class)

    async def _look(self, scope: Scope) -> RecoveryRequest:
        """Read it, once for all who ask at the same time."""
        uid = scope.owner.uid
        looking = self._looking.get(uid)
        if looking is None:
            looking = self._looking[uid] = asyncio.create_task(self._read(scope))
            looking.add_done_callback(lambda _: self._looking.pop(uid, None))
        return await asyncio.shield(looking)

    async def _read(self, scope: Scope) -> RecoveryRequest:
        try:
            body = await self._cluster.get(REQUESTS, scope.owner.name, scope.namespace)
        except ApiError:
            raise RefusedError(
                RefusalCode.TRANSIENT, "the API server does not answer the broker", retry_after=2
            ) from None
        if body is None:
            raise RefusedError(RefusalCode.UNKNOWN_WORKER, "the RecoveryRequest is gone")
        request = RecoveryRequest.model_validate(body)
        self._seen.put(scope.owner.uid, request)
        return request


async def require(turns: Turns, scope: Scope) -> None:
    """Let pass a job that may move data.

    Raises:
        RefusedError: it waits for another stage.
    """
    stage = await turns.waits_for(scope)
    if stage is not None:
        raise RefusedError(RefusalCode.WAITS, f"waits for stage {stage}")


def router(bearer: Callable[..., Any], turns: Turns) -> APIRouter:
    """The route on which a job waits for its turn.

    Args:
        bearer: FastAPI's dependency that gives the `Scope` of whoever asks, without counting that among
            the requests that are under way: who waits takes no room of those who work.
        turns: says which stage a job waits for.
    """
    routes = APIRouter()
    room = _WaitingRoom(turns)
    Bearer = Annotated[Scope, Depends(bearer)]  # noqa: N806  a type

    @routes.get("/v1/turn")
    async def turn(scope: Bearer) -> Response:
        answer = await room.wait(scope)
        return Response(answer.to_json(), media_type="application/json")

    return routes


class _WaitingRoom:
    """Holds the questions of those who wait until there is something to say."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._held: dict[str, str] = {}

    async def wait(self, scope: Scope) -> Turn:
        """The job's turn, when it has come or enough time has passed.

        Raises:
            RefusedError: the job is no longer under way, or nobody can tell for now.
        """
        stage = await self._turns.waits_for(scope)
        if stage is None or not self._has_room(scope):
            return Turn(waits_for=stage)
        self._held[scope.pod_uid] = scope.namespace
        try:
            async with asyncio.timeout(_HOLD_SECONDS):
                while stage is not None:
                    await asyncio.sleep(_LOOK_SECONDS)
                    stage = await self._turns.waits_for(scope)
        except TimeoutError:
            pass
        finally:
            del self._held[scope.pod_uid]
        return Turn(waits_for=stage)

    def _has_room(self, scope: Scope) -> bool:
        """One question a pod, and not too many in all: each holds a connection."""
        of_organisation = list(self._held.values()).count(scope.namespace)
        return (
            scope.pod_uid not in self._held
            and len(self._held) < _HELD
            and of_organisation < _HELD_A_NAMESPACE
        )
