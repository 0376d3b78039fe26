"""Events for people: one recorder, which says a thing once and then counts.

An event's name is made of its object, reason and message, so the same one said again, even by the
operator's next process, is counted up instead of doubled.
"""

import hashlib
from datetime import datetime
from typing import Literal

from weddingbackup.kube.client import EVENTS, ApiError, Cluster, ConflictError, Object
from weddingbackup.resources import names
from weddingbackup.rules.times import rfc3339

_MESSAGE_LIMIT = 1024
"""Characters; the API server refuses longer ones."""


async def record(
    cluster: Cluster,
    about: Object,
    *,
    kind: Literal["Normal", "Warning"],
    reason: str,
    message: str,
    now: datetime,
) -> None:
    """Tell people something about an object (`about`, with its kind and apiVersion).

    Never fails: an event is a courtesy, the status says the same.
    """
    metadata = about["metadata"]
    message = message[:_MESSAGE_LIMIT]
    digest = hashlib.sha256(f"{metadata['uid']}/{kind}/{reason}/{message}".encode()).hexdigest()[
        :16
    ]
    # Kubernetes keeps what happens to cluster-scoped objects in this namespace.
    place = metadata.get("namespace") or "default"
    event = {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{metadata['name'][:200]}.{digest}", "namespace": place},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace"),
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion"),
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": names.MANAGER},
        "reportingComponent": names.MANAGER,
        "firstTimestamp": rfc3339(now),
        "lastTimestamp": rfc3339(now),
        "count": 1,
    }
    try:
        await cluster.create(EVENTS, event)
    except ConflictError:
        await _count(cluster, event)
    except ApiError:
        return


async def _count(cluster: Cluster, event: Object) -> None:
    name, place = event["metadata"]["name"], event["metadata"]["namespace"]
    try:
        earlier = await cluster.get(EVENTS, name, place)
        if earlier is not None:
            change = {"count": earlier.get("count", 1) + 1, "lastTimestamp": event["lastTimestamp"]}
            await cluster.patch(EVENTS, name, place, change)
    except ApiError:
        return
