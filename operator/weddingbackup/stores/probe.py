"""Finds out what a location can do by doing it: nothing is believed because a provider's name promises it.

Two small objects of random names below `probe/` are created and removed. The first shows that
signed puts and gets work and that a name cannot be taken twice; the second, that a signed put
takes no other bytes than those that were signed.
"""

import base64
import hashlib
import os
import time
from collections.abc import Callable

from weddingbackup.stores.api import Capabilities, Keeper, Probe, PutIntent, SignedRequest
from weddingbackup.stores.errors import MissingError, StoreError, TransientError
from weddingbackup.stores.wire import Wire

_SIZE = 64


def probe(
    keeper: Keeper,
    wire: Wire,
    *,
    write: bool = True,
    clock: Callable[[], float] = time.monotonic,
    random: Callable[[int], bytes] = os.urandom,
) -> Probe:
    """Try a location: `keeper` is opened for all of it, not for a vault.

    Without `write`, as for a location that is only read, it is listed and no more.
    """
    if not write:
        return _probe_reading(keeper, clock)
    first, second = (f"probe/{random(16).hex()}" for _ in range(2))
    try:
        latency, create_only = _try_first(keeper, wire, first, clock, random)
        capabilities = Capabilities(
            create_only, _try_second(keeper, wire, second, random), *keeper.versioning()
        )
    except StoreError as error:
        # Who does not answer us would not answer this either, and we would wait twice.
        if not isinstance(error, TransientError):
            _clean(keeper, [first, second])
        return _failed(error)
    message = _clean(keeper, [first, second])
    if not create_only:
        message = (
            f"{keeper.address} lets an object be overwritten although the request forbids it"
            " (create-only precondition ignored): it cannot hold backups"
        )
    return Probe(
        reachable=True,
        writable=True,
        latency_seconds=latency,
        capabilities=capabilities,
        message=message,
    )


def _probe_reading(keeper: Keeper, clock: Callable[[], float]) -> Probe:
    start = clock()
    try:
        next(keeper.list(""), None)
    except StoreError as error:
        return _failed(error)
    return Probe(
        reachable=True,
        writable=False,
        latency_seconds=clock() - start,
        capabilities=None,
        message="",
    )


def _failed(error: StoreError) -> Probe:
    return Probe(
        reachable=not isinstance(error, TransientError),
        writable=False,
        latency_seconds=None,
        capabilities=None,
        message=str(error),
        error=error,
    )


def _try_first(
    keeper: Keeper,
    wire: Wire,
    name: str,
    clock: Callable[[], float],
    random: Callable[[int], bytes],
) -> tuple[float, bool]:
    """Seconds of one small get, and whether the second of two writers is refused."""
    data, other = random(_SIZE), random(_SIZE)
    wire.put(_sign_put(keeper, name, data), data, name=name)
    [signed] = keeper.sign_gets([name])
    start = clock()
    wire.get(signed, name=name)
    latency = clock() - start
    try:
        wire.put(_sign_put(keeper, name, other), other, name=name)
    except TransientError:
        raise
    except StoreError:
        pass  # the right answer, whatever its code; what counts is what is there afterwards
    return latency, wire.get(signed, name=name) == data


def _try_second(keeper: Keeper, wire: Wire, name: str, random: Callable[[int], bytes]) -> bool:
    """Whether other bytes than those that were signed are refused, also with honest headers."""
    signed, other = _sign_put(keeper, name, random(_SIZE)), random(_SIZE)
    for request in (signed, _with_checksums_of(other, signed)):
        try:
            wire.put(request, other, name=name)
        except TransientError:
            raise
        except StoreError:
            continue
        return False
    [read] = keeper.sign_gets([name])
    try:
        wire.get(read, name=name)
    except MissingError:
        return True
    return False


def _sign_put(keeper: Keeper, name: str, data: bytes) -> SignedRequest:
    md5 = _md5(data) if keeper.binds_md5 else None
    [signed] = keeper.sign_puts([PutIntent(name, len(data), hashlib.sha256(data).digest(), md5)])
    return signed


def _with_checksums_of(data: bytes, signed: SignedRequest) -> SignedRequest:
    """The same request, its checksum headers changed to fit other bytes, as a thief would."""
    fitting = {
        "content-md5": base64.b64encode(_md5(data)).decode(),
        "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
    }
    headers = {
        header: fitting.get(header.lower(), value) for header, value in signed.headers.items()
    }
    return SignedRequest(signed.method, signed.url, headers, signed.expires_at)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _clean(keeper: Keeper, names: list[str]) -> str:
    """Remove the probe's objects; what to tell people where that fails."""
    try:
        for name in names:
            keeper.delete(name)
    except StoreError as error:
        return f"the probe's objects could not be removed: {error}"
    return ""
