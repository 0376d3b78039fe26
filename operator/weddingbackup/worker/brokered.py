"""A vault as the broker opens it to one worker: keys for its classes, signed requests for its locations.

The broker stands between every location and this worker, so what it is asked for all of them goes
in one request while another is under way. While it is away everybody waits in place: nothing is
asked twice, and no location is taken for slow or dead on the broker's account.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from weddingbackup.resources import broker
from weddingbackup.resources.broker import MOST_SIGNATURES, Opening, Refusal, RefusalCode
from weddingbackup.resources.tasks import VaultRef
from weddingbackup.stores.api import ObjectInfo, PutIntent, SignedRequest, Store
from weddingbackup.stores.errors import (
    CorruptError,
    DeniedError,
    ExistsError,
    MissingError,
    StoreError,
    TransientError,
    UnsupportedError,
)
from weddingbackup.stores.retry import Retry
from weddingbackup.stores.wire import Wire
from weddingbackup.stores.wirestore import WireStore
from weddingbackup.vault.errors import QuorumError, VaultDamageError
from weddingbackup.vault.format import check_format
from weddingbackup.vault.keyring import DataKey, Keyring
from weddingbackup.vault.names import FORMAT, SNAPSHOTS
from weddingbackup.vault.parallel import MAJORITY, Patience
from weddingbackup.vault.vault import Vault
from weddingbackup.worker.access import lay_out, unusable
from weddingbackup.worker.client import Client
from weddingbackup.worker.errors import BrokerError, RefusedError

_STORE_ERRORS: dict[RefusalCode, type[StoreError]] = {
    RefusalCode.TRANSIENT: TransientError,
    RefusalCode.DENIED: DeniedError,
    RefusalCode.MISSING: MissingError,
    RefusalCode.EXISTS: ExistsError,
    RefusalCode.CORRUPT: CorruptError,
}
"""All others mean that asking again cannot help, which is what `UnsupportedError` says."""


@contextmanager
def opened(
    client: Client,
    vault: VaultRef,
    *,
    locations: Sequence[str] | None = None,
    impatience: Retry | None = None,
    patience: Patience = MAJORITY,
) -> Iterator[Vault]:
    """Open the vault of this worker's job, while the block runs.

    Args:
        client: the line to the broker.
        vault: which vault the task speaks of.
        locations: which ones a point is to be written for, in this order; one that the broker gives
            no access to keeps its place, and fails. None: all that the broker names.
        impatience: how long to try a location where there is another that may be asked instead. The
            time that the broker takes does not count.
        patience: how long to wait for who does not answer at all.

    Raises:
        BrokerError: the broker refused, or stayed away; also where no quorum was reached because the
            organisation's quota is used up.
        RefusedError: the broker has another vault for this worker than the task.
        vault.errors.RefusedError: all locations hold another vault, or a newer format.
    """
    opening = client.open()
    if opening.vault != vault:
        raise RefusedError(
            "WrongKey",
            f"the broker opens vault {opening.vault.id}, and the task is about {vault.id}",
        )
    keyring = _keyring(opening)
    given = {location.name: location for location in opening.locations}
    wanted = list(given) if locations is None else locations
    signer = Signer(client)
    retry = impatience if impatience and wanted[1:] else Retry()
    trying = replace(retry, clock=client.clock)
    with TemporaryDirectory(prefix="authorities-") as directory:

        def store(name: str) -> Store:
            location = given.get(name)
            if location is None:
                why = f"the broker gives this job no access to location {name}"
                return unusable(UnsupportedError(why, location=name))
            wire = _wire(location, Path(directory))
            return BrokeredStore(BrokerGrants(signer, client, location), wire, client, trying)

        stores = lay_out({name: partial(store, name) for name in wanted})
        try:
            yield Vault.open(keyring, opening.founding, stores, patience=patience)
        except QuorumError:
            if signer.exceeded is not None:  # why no location took more, and nothing to try again
                raise BrokerError(signer.exceeded) from None
            raise


def _keyring(opening: Opening) -> Keyring:
    vault_id = bytes.fromhex(opening.vault.id)
    try:
        founded = check_format(opening.founding[FORMAT])
    except (KeyError, VaultDamageError):
        founded = b""
    if founded != vault_id:
        # Founding a location with it would close the location to everybody.
        raise RefusedError("WrongKey", "the broker's founding objects are not those of this vault")
    return Keyring(
        vault_id,
        [
            DataKey(key.class_name, bytes.fromhex(key.key_id), key.secret, key.chunk_key)
            for key in opening.keys
        ],
    )


def _wire(location: broker.Location, directory: Path) -> Wire:
    ca_file = None
    if location.authorities is not None:
        ca_file = directory / f"{location.name}.pem"
        ca_file.write_text(location.authorities)
    return Wire(
        location=location.name,
        address=location.address,
        limits=location.limits,
        ca_file=None if ca_file is None else str(ca_file),
    )


@dataclass(eq=False, slots=True)
class _Ticket:
    """One signature that a thread waits for."""

    wanted: broker.Put | broker.Get
    answer: broker.Answer | None = None
    error: BrokerError | None = None

    @property
    def served(self) -> bool:
        return self.answer is not None or self.error is not None


@dataclass(slots=True)
class Signer:
    """Asks for signatures for all locations: whoever has its turn asks for all that wait.

    So there is one request under way at most, and what waits is no more than the threads that ask.

    Attributes:
        exceeded: what the broker said when the organisation had no room left.
    """

    client: Client
    exceeded: Refusal | None = None
    _waiting: deque[_Ticket] = field(default_factory=deque)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def sign(self, wanted: Sequence[broker.Put | broker.Get]) -> list[SignedRequest]:
        """Get these signed, in their order.

        Raises:
            StoreError: the first of them that is refused; or the broker stayed away, which is then
                said to all who waited.
        """
        tickets = [_Ticket(each) for each in wanted]
        self._waiting.extend(tickets)
        # The time behind others' requests is the broker's, too.
        self.client.waiting(lambda: self._serve(tickets))
        return [_signed(ticket) for ticket in tickets]

    def _serve(self, tickets: Sequence[_Ticket]) -> None:
        while not all(ticket.served for ticket in tickets):
            with self._turn:
                if not all(ticket.served for ticket in tickets):
                    self._ask()

    def _ask(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_SIGNATURES))]
        puts = [(each, each.wanted) for each in batch if isinstance(each.wanted, broker.Put)]
        gets = [(each, each.wanted) for each in batch if isinstance(each.wanted, broker.Get)]
        try:
            answer = self.client.sign(
                broker.SignRequest(puts=[p for _, p in puts], gets=[g for _, g in gets])
            )
        except BrokerError as error:
            if error.refusal.code is RefusalCode.TRANSIENT:
                # Who came meanwhile has waited for the same broker: no second ten minutes.
                while self._waiting:
                    batch.append(self._waiting.popleft())
            for ticket in batch:
                ticket.error = error
            return
        for (ticket, _), each in zip([*puts, *gets], [*answer.puts, *answer.gets], strict=True):
            ticket.answer = each
            if each.refusal is not None and each.refusal.code is RefusalCode.QUOTA_EXCEEDED:
                self.exceeded = each.refusal


def _signed(ticket: _Ticket) -> SignedRequest:
    wanted = ticket.wanted
    if ticket.error is not None:
        raise store_error(ticket.error.refusal, wanted.location, wanted.name)
    assert ticket.answer is not None
    if (signed := ticket.answer.signed) is not None:
        return SignedRequest(signed.method, signed.url, signed.headers, signed.expires_at)
    silent = Refusal(
        code=RefusalCode.BAD_REQUEST, message="the broker signed nothing and said why not"
    )
    raise store_error(ticket.answer.refusal or silent, wanted.location, wanted.name)


def store_error(refusal: Refusal, location: str, name: str = "") -> StoreError:
    """What a refusal means to whoever uses a location."""
    if refusal.code is RefusalCode.TRANSIENT:
        return TransientError(
            refusal.message,
            location=location,
            name=name,
            retry_after_seconds=refusal.retry_after_seconds,
        )
    kind = _STORE_ERRORS.get(refusal.code, UnsupportedError)
    return kind(refusal.message, location=location, name=name)


@dataclass(frozen=True, slots=True)
class BrokerGrants:
    """`stores.api.Grants` of one location, from a broker."""

    signer: Signer
    client: Client
    place: broker.Location

    @property
    def location(self) -> str:
        """The location's name."""
        return self.place.name

    @property
    def address(self) -> str:
        """The bucket for people."""
        return self.place.address

    @property
    def binds_md5(self) -> bool:
        """Whether puts need an MD5."""
        return self.place.binds_md5

    def sign_puts(self, puts: Sequence[PutIntent]) -> list[SignedRequest]:
        """Requests that create these objects."""
        return self.signer.sign(
            [
                broker.Put(
                    location=self.location,
                    name=put.name,
                    size=put.size,
                    sha256=put.sha256.hex(),
                    md5=put.md5.hex() if put.md5 else None,
                )
                for put in puts
            ]
        )

    def sign_gets(self, names: Sequence[str]) -> list[SignedRequest]:
        """Requests that read these objects."""
        return self.signer.sign([broker.Get(location=self.location, name=name) for name in names])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin so."""
        try:
            for found in self.client.list(self.location, prefix):
                yield ObjectInfo(found.name, found.size, found.modified)
        except BrokerError as error:
            raise store_error(error.refusal, self.location) from None


class BrokeredStore(WireStore):
    """A location whose manifests the broker stores: it sees to it that they mean what they say."""

    def __init__(self, grants: BrokerGrants, wire: Wire, client: Client, retry: Retry) -> None:
        super().__init__(grants, wire, retry=retry)
        self._client = client
        self._patience = retry

    def put(self, name: str, data: bytes | memoryview, *, sha256: bytes) -> None:
        """Create an object; see `Store.put`."""
        if name.startswith(SNAPSHOTS):
            self._patience.call(lambda: self._put_manifest(name, data))
        else:
            super().put(name, data, sha256=sha256)

    def _put_manifest(self, name: str, data: bytes | memoryview) -> None:
        try:
            self._client.put_manifest(self.location, name, data)
        except BrokerError as error:
            raise store_error(error.refusal, self.location, name) from None
