"""Which object names are good everywhere: in buckets, in URLs and in a directory.

One small alphabet needs no escaping by anybody, so a name means the same to every provider, and no
name leads out of its prefix.
"""

import re

_COMPONENT = re.compile(r"[a-z0-9_-][a-z0-9._-]*")
_MAX_LENGTH = 512
_MAX_COMPONENT = 200  # file systems take 255 bytes; the rest is for temporary names


def check(name: str) -> str:
    """Give the name back if it is one: `[a-z0-9._-]` components, none hidden, joined by slashes.

    Raises:
        ValueError: it is not.
    """
    if not is_name(name):
        raise ValueError(f"{name!r} is no name for an object: use a-z, 0-9, '.', '_', '-' and '/'")
    return name


def is_name(text: str) -> bool:
    """Whether `check` would let it pass."""
    return len(text) <= _MAX_LENGTH and all(map(_is_component, text.split("/")))


def check_prefix(prefix: str) -> str:
    """Give back what names may begin with: nothing, or a name whose last component may be cut short.

    Raises:
        ValueError: no name can begin so.
    """
    if prefix:
        check(prefix.removesuffix("/"))
    return prefix


def below(*prefixes: str) -> str:
    """Join prefixes into the one that a name can be appended to: "" or one that ends with a slash.

    The first may be a person's choice, with capitals; what it may hold is the provider's affair.
    """
    parts = [part for prefix in prefixes if (part := prefix.strip("/"))]
    return "/".join(parts) + "/" if parts else ""


def _is_component(text: str) -> bool:
    return len(text) <= _MAX_COMPONENT and _COMPONENT.fullmatch(text) is not None
