"""Writing status: only what changed, and never over somebody else's newer word."""

from typing import Any

from weddingbackup.kube.client import Cluster, Object, Resource


def difference(old: Object, new: Object) -> Object:
    """The merge patch (RFC 7386) that turns `old` into `new`; {} where they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            if inner := difference(before, value):
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch


async def write_status(cluster: Cluster, resource: Resource, body: Object, status: Object) -> bool:
    """Bring an object's status subresource to `status`; True where something had to be written.

    The patch names the resourceVersion that the decision was made on: an operator that is on its
    way out while its successor already works cannot put the clock back.

    Raises:
        ConflictError: the object changed since `body` was read; read it again and decide anew.
    """
    patch = difference(body.get("status") or {}, status)
    if not patch:
        return False
    metadata = body["metadata"]
    await cluster.patch(
        resource,
        metadata["name"],
        metadata.get("namespace"),
        {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": patch},
        subresource="status",
    )
    return True
