"""Reads times and durations as people write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from imagefleet.errors import InvalidJob

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_moment(text: str) -> datetime:
    """A date and time in ISO 8601; one without an offset is in the time zone of this machine.

    Raises:
        InvalidJob: for anything else.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise InvalidJob(
            f"deadline: must be a date and time such as 2026-01-31T18:00 or 2026-01-31T18:00+01:00; it is {text!r}"
        ) from error


def after(duration: str) -> datetime:
    """The time *duration* from now: seconds, or a number with s, m, h or d.

    Raises:
        InvalidJob: for anything else.
    """
    seconds = seconds_of(duration, name="expires-in")
    try:
        if seconds:
            return datetime.now(UTC) + timedelta(seconds=seconds)
    except OverflowError:
        pass
    raise InvalidJob(f"expires-in: must be more than 0 and end before the year 10000; it is {duration!r}")


def seconds_of(duration: str, *, name: str) -> float:
    """The seconds of *duration*: a number of them, or a number with s, m, h or d.

    Raises:
        InvalidJob: for anything else, with the *name* of the option.
    """
    found = _DURATION.fullmatch(duration.strip())
    if not found:
        raise InvalidJob(f"{name}: must be seconds, or a duration such as 90s, 10m or 2h; it is {duration!r}")
    number, unit = found.groups()
    return float(number) * _SECONDS[unit]
