"""What a process in the cluster says: one JSON object a line on standard output, with no secrets in it.

The worker and the controller set it up once, at their start, and then speak through
`structlog.get_logger()`. The command line speaks to people and does not use it.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from structlog.typing import Processor

# Each keeps what its first group matched. Where a secret's end is in doubt, more is taken out.
_SECRETS = (
    # user:password@ in a connection URI, of PostgreSQL or of a proxy; to the last @, for people
    # write passwords with @ and / in them, too
    re.compile(r"(://)\S+(?=@)"),
    # a named secret, quoted or not: in a libpq connection string, an Azure one, YAML, JSON
    re.compile(
        r"(?i)((?:password|secret_?access_?key|account_?key|private_?key|shared_?access_?signature|authorization)['\"]?[ \t]*[=:][ \t]*)"
        r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|(?:(?:bearer|basic)[ \t]+)?\S+)"
    ),
    # a token that speaks for a pod or an account, with or without its name
    re.compile(r"(\b)eyJ[\w-]+\.[\w-]+\.[\w-]*"),
    # the query of a signed request: whoever holds it may do what it says until it expires
    re.compile(
        r"(?i)([?&])(?:x-amz-|x-goog-|googleaccessid|sig=|signature=|sv=|se=|sp=|awsaccesskeyid)"
        r"[^\s'\"]*"
    ),
)


def redact(text: str) -> str:
    """The text with passwords and signatures taken out, for messages that others wrote."""
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return text


def _redact_values(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = _redacted(value)
    return event


def _redacted(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact(value)
        case dict():
            return {redact(str(key)): _redacted(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(each) for each in value]
        case _:  # what JSON would show of it: an error, for example
            return redact(repr(value))


def configure(level: str = "INFO") -> None:
    """Send the process's log to standard output as JSON lines.

    Libraries' own records (of the standard `logging`) from WARNING upwards come the same way, as do
    our own from `level` (INFO where that is no level's name) upwards.
    """
    # Here and not above: who only redacts does without.
    import structlog  # noqa: PLC0415  see above

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[Processor] = [
        # Plain text, not frames with their local variables: those hold keys.
        structlog.processors.format_exc_info,
        _redact_values,
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
        ),
        # Looked up a line at a time, so that a redirected stream is honoured.
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
