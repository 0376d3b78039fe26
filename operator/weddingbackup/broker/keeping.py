"""The locations' keepers: opened once, worked with in threads, each location apart from all others.

A storage SDK can sit on a dead connection for minutes, and a thread cannot be stopped. So each
location has a few threads of its own: whoever waits there holds up nobody who works elsewhere. And
signing has others than what talks to the location: a worker asks for signatures of all its
locations at once, and must not wait for the one that is dead.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar
from weakref import WeakValueDictionary

from weddingbackup.broker.scope import RefusedError
from weddingbackup.resources.backup_location import BackupLocation
from weddingbackup.resources.broker import RefusalCode
from weddingbackup.resources.tasks import LocationAccess
from weddingbackup.stores import open_keeper, open_wire
from weddingbackup.stores.api import Keeper, ObjectInfo, PutIntent, SignedRequest
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.wire import Wire
from weddingbackup.stores.wirestore import WireStore

T = TypeVar("T")

Credentials = Callable[[BackupLocation], Awaitable[tuple[LocationAccess, Mapping[str, str]]]]
"""Gives what a location is opened with, or raises RefusedError."""

_THREADS = 16
_THREADS_A_VAULT = 2
"""So many of them for one vault: else one job could take all of a location that hangs."""
_THREADS_AN_ORGANISATION = 6
"""So many for all vaults that one organisation's jobs work with: else it could with eight of them."""
_SIGNING_THREADS = 4
_FRESH_SECONDS = 60.0
"""How long credentials are used before their Secret is read again."""


@dataclass(slots=True)
class _Kept:
    keeper: Keeper
    wire: Wire
    access: LocationAccess
    credentials: Mapping[str, str]
    version: tuple[str, int]
    read_at: float


@dataclass(slots=True)
class _Place:
    """One location's threads, and what they work with."""

    talking: ThreadPoolExecutor
    signing: ThreadPoolExecutor
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    turns: "WeakValueDictionary[str, asyncio.Semaphore]" = field(
        default_factory=WeakValueDictionary
    )
    kept: _Kept | None = None

    def turns_of(self, vault: str, organisation: str) -> Iterator[asyncio.Semaphore]:
        """What a request needs, in this order: who waits for one vault's turn keeps none of the others'."""
        for name, threads in (
            (f"vault {vault}", _THREADS_A_VAULT),
            (f"organisation {organisation}", _THREADS_AN_ORGANISATION),
        ):
            yield self.turns.setdefault(name, asyncio.Semaphore(threads))


@dataclass(frozen=True, slots=True)
class Vaulted:
    """A location as one vault's jobs see it: every name is below the vault's prefix.

    It satisfies `stores.api.Grants`.
    """

    keeper: Keeper
    wire: Wire
    prefix: str

    @property
    def location(self) -> str:
        """The location's name."""
        return self.keeper.location

    @property
    def address(self) -> str:
        """The bucket, for people."""
        return self.keeper.address

    @property
    def binds_md5(self) -> bool:
        """Whether a put's MD5 is needed."""
        return self.keeper.binds_md5

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        """Requests that create objects of the vault."""
        return self.keeper.sign_puts([replace(put, name=self.prefix + put.name) for put in puts])

    def sign_gets(self, names: Sequence[str]) -> list[SignedRequest]:
        """Requests that read objects of the vault."""
        return self.keeper.sign_gets([self.prefix + name for name in names])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The vault's objects whose names begin so."""
        for info in self.keeper.list(self.prefix + prefix):
            yield replace(info, name=info.name.removeprefix(self.prefix))

    def store(self, retry: Retry) -> WireStore:
        """The vault's store here, to read and write in this process."""
        return WireStore(self, self.wire, retry=retry)


class Keeping:
    """All locations that jobs work with."""

    def __init__(
        self, credentials: Credentials, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._places: dict[str, _Place] = {}

    async def run(
        self,
        location: BackupLocation,
        prefix: str,
        work: Callable[[Vaulted], T],
        *,
        organisation: str,
        seconds: float,
        signing: bool = False,
    ) -> T:
        """Do something at a location, in one of its threads.

        Args:
            location: where.
            prefix: the vault's.
            work: what.
            organisation: the namespace of whoever asks.
            seconds: how long it may take.
            signing: it only signs, and does not talk to the location.

        Raises:
            RefusedError: the location's credentials are missing, or no answer came within `seconds`.
            StoreError: whatever the work raises.
        """
        name = location.metadata.name
        place = self._places.get(name) or self._places.setdefault(name, _place(name))
        try:
            async with asyncio.timeout(seconds):
                kept = await self._kept(place, location)
                vaulted = Vaulted(kept.keeper, kept.wire, f"{prefix}/")
                if signing:
                    loop = asyncio.get_running_loop()
                    return await loop.run_in_executor(place.signing, work, vaulted)
                with ExitStack() as held:
                    for turn in place.turns_of(prefix, organisation):
                        await turn.acquire()
                        held.callback(turn.release)
                    return await _talk(place, held.pop_all(), work, vaulted)
        except TimeoutError:
            raise RefusedError(
                RefusalCode.TRANSIENT, f"location {name} did not answer within {seconds:g} s"
            ) from None

    async def authorities(self, location: BackupLocation) -> str | None:
        """PEM of the authorities that a location's own endpoint is vouched for by; None: the system's."""
        access, _ = await self._credentials(location)
        if access.ca_file is None:
            return None
        with open(access.ca_file) as file:  # noqa: ASYNC230, PTH123  a small local file
            return file.read()

    async def _kept(self, place: _Place, location: BackupLocation) -> _Kept:
        # Made anew under its name, a location may be another bucket, and begins to count again.
        version = (location.metadata.uid, location.metadata.generation)
        async with place.lock:
            kept = place.kept
            if (
                kept is not None
                and kept.version == version
                and self._clock() - kept.read_at < _FRESH_SECONDS
            ):
                return kept
            access, credentials = await self._credentials(location)
            if kept is not None and (kept.access, kept.credentials) == (access, credentials):
                kept.version, kept.read_at = version, self._clock()
                return kept
            loop = asyncio.get_running_loop()
            keeper = await loop.run_in_executor(place.signing, open_keeper, access, credentials)
            wire = open_wire(access, keeper.address, connections=_THREADS)
            place.kept = _Kept(keeper, wire, access, credentials, version, self._clock())
            # Who still works with the former one ends by itself.
            return place.kept

    def close(self) -> None:
        """Start nothing more; what hangs ends with the process."""
        for place in self._places.values():
            place.talking.shutdown(wait=False, cancel_futures=True)
            place.signing.shutdown(wait=False, cancel_futures=True)
            if place.kept is not None:
                with suppress(Exception):
                    place.kept.keeper.close()
                    place.kept.wire.close()


async def _talk(
    place: _Place, held: ExitStack, work: Callable[[Vaulted], T], vaulted: Vaulted
) -> T:
    """Work in a thread; what is held ends with the thread, not with whoever waits for it."""
    loop = asyncio.get_running_loop()

    def release(_: object) -> None:
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(held.close)

    future = place.talking.submit(work, vaulted)
    future.add_done_callback(release)
    return await asyncio.wrap_future(future)


def _place(name: str) -> _Place:
    return _Place(
        talking=ThreadPoolExecutor(_THREADS, thread_name_prefix=f"at-{name}"),
        signing=ThreadPoolExecutor(_SIGNING_THREADS, thread_name_prefix=f"sign-{name}"),
    )
