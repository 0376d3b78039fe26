"""What can go wrong at a store, as types: a caller decides by the type, a person reads the message.

Only `TransientError` is worth another try. All others say the same however often they are asked.
"""


class StoreError(Exception):
    """A request to a store failed.

    Attributes:
        location: name of the location that was asked.
        name: name of the object that it was about; "" where it was about the location itself.
    """

    def __init__(self, message: str, *, location: str, name: str = "") -> None:
        super().__init__(message)
        self.location = location
        self.name = name


class TransientError(StoreError):
    """It may work when tried again: timeouts, lost connections, overload, errors on their side.

    Attributes:
        retry_after_seconds: how long the provider asks us to wait; None where it doesn't say.
    """

    def __init__(
        self,
        message: str,
        *,
        location: str,
        name: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, location=location, name=name)
        self.retry_after_seconds = retry_after_seconds


class DeniedError(StoreError):
    """The provider does not know us, or does not allow this: wrong key, missing right, old signature."""


class MissingError(StoreError):
    """The object, or the bucket itself, does not exist."""


class ExistsError(StoreError):
    """The name is taken by other bytes. What is there was left alone."""


class CorruptError(StoreError):
    """The bytes that arrived are not those that were meant: wrong checksum or length."""


class UnsupportedError(StoreError):
    """The provider, as it is set up, cannot do what was asked."""


class ArchivedError(StoreError):
    """The object is there and whole as far as is known, and cannot be read before it was asked back.

    It is neither missing nor damaged, nor are we denied it: another location may have it at hand.
    """
