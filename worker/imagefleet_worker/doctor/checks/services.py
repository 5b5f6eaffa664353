"""The checks of the bucket and of clocks: this machine's against those of Redis and S3."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import redis

from imagefleet.errors import SettingsInvalid, reason_of
from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, failed, ok, warning
from imagefleet_worker.storage.bucket import PROBE


def check_bucket(context: CheckContext) -> CheckResult:
    """Whether a worker can do in the bucket what it must, and the server lets only one of two results win.

    Raises:
        StorageRefused, StorageUnavailable: where it cannot.
    """
    bucket = context.settings.storage.bucket
    if context.storage.check():
        return ok(f"{bucket}: write, read, list and delete work, and a second write with If-None-Match is refused")
    return failed(
        f"{bucket}: this S3 ignores If-None-Match, so a job that runs twice may leave the result of either run. "
        "Use a server that knows conditional writes"
    )


def check_links(context: CheckContext) -> CheckResult:
    """Whether a presigned URL downloads what it should, from this machine.

    Raises:
        StorageRefused, StorageUnavailable: where the object cannot be written.
    """
    storage = context.settings.storage
    with context.storage.probe() as link:
        host = httpx.URL(link.url).host
        hint = f"{host} must be reachable for those who follow the links; see IMAGEFLEET_STORAGE_PUBLIC_URL"
        try:
            answer = httpx.get(link.url, timeout=storage.timeout_s, trust_env=False)
        except httpx.HTTPError as error:
            return failed(f"a presigned URL leads to {host}, which does not answer: {reason_of(error)}. {hint}")
    if answer.content != PROBE:
        return failed(f"a presigned URL leads to {host}, which answered {answer.status_code}. {hint}")
    left_s = (link.expires_at - datetime.now(UTC)).total_seconds()
    if left_s < storage.presign_expires_s / 2:
        return warning(f"a presigned URL ends after {left_s:.0f} s, with the credentials that signed it")
    return ok(f"a presigned URL of {host} downloads the object")


#: S3's Date is in whole seconds, so less cannot be told from none.
_WARN_S: Final = 2.0
#: Receivers of webhooks and S3 refuse what is minutes old or from the future.
_FAIL_S: Final = 60.0


def check_clock(context: CheckContext, *, now: Callable[[], float] = time.time) -> CheckResult:
    """How far this machine's clock is from the others, and what that would break."""
    found = {"Redis": _ask(lambda: _of_redis(context), now), "S3": _ask(lambda: _of_s3(context), now)}
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
    except (redis.RedisError, httpx.HTTPError, SettingsInvalid, LookupError, ValueError):
        return None  # whether they work at all is another check's business
    return (before + now()) / 2 - theirs


def _of_redis(context: CheckContext) -> float:
    answer: Any = context.redis.time()
    seconds, microseconds = answer
    return float(seconds) + float(microseconds) / 1e6


def _of_s3(context: CheckContext) -> float:
    # Unsigned: a request whose signature is too old would be refused, and even a refusal has a Date.
    timeout_s = context.settings.storage.timeout_s
    answer = httpx.head(context.storage.endpoint_url, timeout=timeout_s, follow_redirects=False)
    date: datetime = parsedate_to_datetime(answer.headers["Date"])
    return date.timestamp() + 0.5  # cut to whole seconds
