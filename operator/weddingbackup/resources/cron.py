"""The five fields of cron as one regular expression, so that a slip is refused where it is written."""

from typing import Final

_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_WEEKDAYS = "SUN|MON|TUE|WED|THU|FRI|SAT"


def _field(value: str) -> str:
    element = rf"(\*|({value})(-({value}))?)(/[1-9][0-9]?)?"
    return f"{element}(,{element})*"


CRON: Final = "^{}$".format(
    " +".join(
        (
            _field("[0-5]?[0-9]"),
            _field("[01]?[0-9]|2[0-3]"),
            _field("0?[1-9]|[12][0-9]|3[01]"),
            _field(f"0?[1-9]|1[0-2]|{_MONTHS}"),
            _field(f"[0-7]|{_WEEKDAYS}"),
        )
    )
)
"""Numbers in their ranges, names of months and weekdays, `*`, ranges, lists and steps."""
