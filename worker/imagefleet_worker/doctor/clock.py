"""The check of clocks: this machine's against those of Redis and S3."""

import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import redis

from imagefleet_worker.doctor.findings import Outcome, failed, ok, warning
from imagefleet_worker.doctor.subject import Subject
from imagefleet_worker.errors import StorageRefused

#: S3's Date is in whole seconds, so less cannot be told from none.
_WARN_S: Final = 2.0
#: Receivers of webhooks and S3 refuse what is minutes old or from the future.
_FAIL_S: Final = 60.0


def check_clock(subject: Subject, *, now: Callable[[], float] = time.time) -> Outcome:
    """How far this machine's clock is from the others, and what that would break."""
    found = {"Redis": _ask(lambda: _of_redis(subject), now), "S3": _ask(lambda: _of_s3(subject), now)}
    skews = {name: skew for name, skew in found.items() if skew is not None}
    facts = {f"{name.lower()}_skew_s": None if skew is None else round(skew, 3) for name, skew in found.items()}
    if not skews:
        return warning("neither Redis nor S3 told the time", **facts)
    name, skew = max(skews.items(), key=lambda item: abs(item[1]))
    silent = "".join(f"; {other} did not tell the time" for other in found if other not in skews)
    if abs(skew) < _WARN_S:
        return ok(f"within {_WARN_S:g} s of {' and '.join(skews)}{silent}", **facts)
    sentence = (
        f"this machine is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} {name}: deadlines, signatures of "
        f"webhooks and of S3 go by the clock; let NTP set it on both{silent}"
    )
    return (failed if abs(skew) >= _FAIL_S else warning)(sentence, **facts)


def _ask(their_time: Callable[[], float], now: Callable[[], float]) -> float | None:
    """Seconds by which this machine is ahead; the answer is taken to be from the middle of the round trip."""
    before = now()
    try:
        theirs = their_time()
    except (redis.RedisError, httpx.HTTPError, StorageRefused, LookupError, ValueError):
        return None  # whether they work at all is another check's business
    return (before + now()) / 2 - theirs


def _of_redis(subject: Subject) -> float:
    answer: Any = subject.redis.time()
    seconds, microseconds = answer
    return float(seconds) + float(microseconds) / 1e6


def _of_s3(subject: Subject) -> float:
    # Unsigned: a request whose signature is too old would be refused, and even a refusal has a Date.
    timeout_s = subject.settings.storage.timeout_s
    answer = httpx.head(subject.storage.endpoint_url, timeout=timeout_s, follow_redirects=False)
    date: datetime = parsedate_to_datetime(answer.headers["Date"])
    return date.timestamp() + 0.5  # cut to whole seconds
