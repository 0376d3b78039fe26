"""Kubernetes quantities, as far as bytes and counts are written in them."""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)?")
_BINARY, _DECIMAL = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), ("k", "M", "G", "T", "P", "E")
_FACTORS: dict[str | None, int] = {
    None: 1,
    **{suffix: 1024**power for power, suffix in enumerate(_BINARY, 1)},
    **{suffix: 1000**power for power, suffix in enumerate(_DECIMAL, 1)},
}


def quantity(text: str) -> int:
    """A Kubernetes quantity as a whole number, for example 5Gi or 2000.

    Raises:
        ValueError: it is none.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return int(Decimal(match[1]) * _FACTORS[match[2]])
