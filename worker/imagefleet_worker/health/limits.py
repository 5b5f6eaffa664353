"""Limits: for how long a sign of life may be missing, and the answer to a probe."""

from typing import Final, NamedTuple


class Limits(NamedTuple):
    """For how long a sign of life may be missing, in seconds."""

    #: The process writes a beat every second; loading native code may hold the interpreter for several.
    frozen_s: float = 30.0
    #: The event loop turns every second; a slow answer of Redis may hold it for several.
    wedged_s: float = 30.0
    #: Celery does not consume although Redis answers; it pauses for up to 32 s between two tries.
    reconnect_s: float = 90.0
    #: Redis is pinged every two seconds.
    redis_s: float = 15.0


DEFAULT_LIMITS: Final = Limits()


class ProbeResult(NamedTuple):
    """The answer to a probe."""

    is_good: bool
    words: str
