"""Moments: the times that a message may name."""

import re
from datetime import UTC, datetime
from typing import Final

_ETA: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?[0-5]\d)?", re.ASCII)


def is_eta(value: object) -> bool:
    """Whether *value* is a time that the script `claim` reads; it would have run any other one at once."""
    if value is None:
        return True
    try:
        return isinstance(value, str) and _ETA.fullmatch(value) is not None and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def parse_moment(text: str) -> datetime:
    """The ISO 8601 time *text* in UTC; a time without an offset is one.

    Raises:
        ValueError: If it is no such time.
        OverflowError: If it is none of the years 1 to 9999 in UTC.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
