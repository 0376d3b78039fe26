"""The data keys of one vault, unwrapped: who seals, who opens, what a chunk's id is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from weddingbackup.vault.errors import VaultDamageError, WrongKeyError
from weddingbackup.vault.names import VAULT_CLASS, digest_of, key_name, verify
from weddingbackup.vault.seal import HEADER_SIZE, LAST_ORDINAL, Header, Kind, Seal, derive

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

SECRET_SIZE = 32
ID_SIZE = 16
SALT_SIZE = 32


@dataclass(frozen=True, slots=True)
class DataKey:
    """What one class is sealed with.

    Attributes:
        secret: 32 bytes, from which each object's key is derived.
        chunk_key: 32 bytes, the key of the class's chunk ids. Derived from the class's first
            secret, and handed on when that is rotated, so that equal data keeps its id.
    """

    class_name: str
    key_id: bytes
    secret: bytes
    chunk_key: bytes

    @classmethod
    def found(cls, class_name: str, random: Callable[[int], bytes]) -> DataKey:
        """Make a class's first key."""
        secret = random(SECRET_SIZE)
        return cls(class_name, random(ID_SIZE), secret, derive(secret, b"chunk id"))

    def successor(self, random: Callable[[int], bytes]) -> DataKey:
        """Make the class's next key; it hands the chunk key on, so what is stored is found again."""
        return DataKey(self.class_name, random(ID_SIZE), random(SECRET_SIZE), self.chunk_key)

    def wrap(
        self, vault_id: bytes, wrapping_key: bytes, random: Callable[[int], bytes]
    ) -> tuple[str, bytes]:
        """Give (name, bytes) of the key's object: header, then secret and chunk key, sealed."""
        header = Header(Kind.KEY, self.class_name, vault_id, self.key_id, random(SALT_SIZE))
        body = Seal(wrapping_key, header).seal(LAST_ORDINAL, self.secret + self.chunk_key)
        data = header.encode() + body
        return key_name(self.class_name, self.key_id, data), data


def unwrap(name: str, data: bytes, vault_id: bytes, wrapping_key: bytes) -> DataKey:
    """Open a key's object.

    Raises:
        VaultDamageError: these are not the object's bytes.
        WrongKeyError: they are, but the wrapping key is another.
    """
    verify(name, data)
    header = Header.decode(name, data)
    if header.kind is not Kind.KEY or header.vault_id != vault_id:
        raise VaultDamageError(name, "it is no key of this vault")
    try:
        secrets = Seal(wrapping_key, header).open(name, LAST_ORDINAL, data[HEADER_SIZE:])
    except VaultDamageError:
        # The name's digest held, so these are the bytes that were stored: it is the key.
        raise WrongKeyError(f"the {header.class_name} wrapping key does not open {name}") from None
    if len(secrets) != 2 * SECRET_SIZE:
        raise VaultDamageError(name, "it holds no key")
    chunk_key = secrets[SECRET_SIZE:]
    return DataKey(header.class_name, header.key_id, secrets[:SECRET_SIZE], chunk_key)


class Keyring:
    """The data keys that a job was given: of all classes, or only of those that it needs."""

    def __init__(self, vault_id: bytes, keys: Iterable[DataKey]) -> None:
        """Take the keys; of several of one class the last one seals, all of them open."""
        self.vault_id = vault_id
        self._by_id = {key.key_id: key for key in keys}
        self._current = {key.class_name: key for key in self._by_id.values()}

    @classmethod
    def unwrap(
        cls,
        vault_id: bytes,
        wrapping_keys: Mapping[str, bytes],
        objects: Mapping[str, bytes],
        classes: Collection[str] | None = None,
        *,
        sealing: Mapping[str, str],
    ) -> Keyring:
        """Unwrap key objects: of these classes, or of all that there are wrapping keys for.

        `sealing` names by its id (hex), for each class with several keys, the one that seals.

        Raises:
            WrongKeyError: a wrapping key is another vault's.
        """
        keys = []
        wanted = wrapping_keys if classes is None else {VAULT_CLASS, *classes}
        for name in sorted(n for n in objects if digest_of(n)):
            class_name = Header.decode(name, objects[name]).class_name
            if class_name in wanted and class_name in wrapping_keys:
                keys.append(unwrap(name, objects[name], vault_id, wrapping_keys[class_name]))
        keys.sort(key=lambda key: sealing.get(key.class_name) == key.key_id.hex())
        return cls(vault_id, keys)

    @property
    def keys(self) -> tuple[DataKey, ...]:
        """All of them, in the order in which they were given: of one class the last one seals."""
        return tuple(self._by_id.values())

    def current(self, class_name: str) -> DataKey:
        """Give the key that seals a class from now on.

        Raises:
            WrongKeyError: no key of the class was given.
        """
        key = self._current.get(class_name)
        if key is None:
            raise WrongKeyError(f"no key of class {class_name} was given")
        return key

    def new_seal(self, kind: Kind, class_name: str, salt: bytes) -> tuple[Header, Seal]:
        """Begin a new object of a class."""
        key = self.current(class_name)
        header = Header(kind, class_name, self.vault_id, key.key_id, salt)
        return header, Seal(key.secret, header)

    def seal_of(self, name: str, header: Header) -> Seal:
        """Open an object by its header.

        Raises:
            VaultDamageError: the header is another vault's, or says a class that is not its key's.
            WrongKeyError: there is no such key here.
        """
        if header.vault_id != self.vault_id:
            raise VaultDamageError(name, "it belongs to another vault")
        key = self._by_id.get(header.key_id)
        if key is None:
            raise WrongKeyError(
                f"{name} is sealed by key {header.key_id.hex()} of class {header.class_name}, "
                "which is not among the keys given: if they were rotated, take the newest kit"
            )
        if key.class_name != header.class_name:
            raise VaultDamageError(name, "its class is not that of its key")
        return Seal(key.secret, header)

    def chunk_key(self, class_name: str) -> bytes:
        """Give the key of a class's chunk ids."""
        return self.current(class_name).chunk_key

    def chunker_seed(self) -> int:
        """Give the vault's own seed for cutting: 63 bits that nobody without keys can guess."""
        return int.from_bytes(derive(self.chunk_key(VAULT_CLASS), b"chunker seed")[:8], "big") >> 1


def chunk_id(key: bytes, data: bytes | memoryview) -> bytes:
    """Give the 32-byte id of a chunk or tree node: BLAKE3, keyed with the class's chunk key."""
    return blake3(data, key=key).digest()
