"""Delivery: one try at handing an event to its receiver."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final

from imagefleet import tracing, webhooks
from imagefleet.webhooks import Delivery
from imagefleet_worker.addresses import resolve
from imagefleet_worker.errors import DeliveryFailed, DeliveryGone
from imagefleet_worker.keyring import secrets_for
from imagefleet_worker.posting import NO_ANSWER, Answer, post
from imagefleet_worker.settings import WebhookSettings

_LONGEST_PAUSE_S: Final = 3600.0
_ACCEPTED: Final = range(200, 300)
_GONE: Final = 410
#: Too many requests, and service unavailable: the answers whose `Retry-After` says when to come again.
_LATER: Final = (429, 503)
_SERVER_ERROR: Final = 500
_USER_AGENT: Final = f"imagefleet/{version('imagefleet')}"


def deliver(delivery: Delivery, *, settings: WebhookSettings, now: float) -> None:
    """Send *delivery* once, signed with every secret of its receiver.

    *now* is the time of the signature, in seconds since 1970. It takes at most `settings.timeout_s`, and what the
    system's resolver needs for the name.

    Raises:
        AddressRefused: where its URL leads where nothing may be sent.
        DeliveryGone: where the receiver wants no more (410).
        DeliveryFailed: for any other answer but 2xx (redirects too), and for none in time; `retry_after_s` is what the
            receiver asked for with 429 or 503, at most an hour.
    """
    target = resolve(delivery.url, allow_hosts=settings.allow_hosts)
    body = delivery.body.encode()
    secrets = secrets_for(target, settings=settings)
    signed = webhooks.headers(body, secrets=secrets, event_id=delivery.event_id, timestamp=int(now))
    headers = {"content-type": "application/json", "user-agent": _USER_AGENT, **tracing.carrier(), **signed}
    try:
        answer = post(target, body, headers=headers, timeout_s=settings.timeout_s)
    except NO_ANSWER as error:
        raise DeliveryFailed(f"{target.host} did not answer: {type(error).__name__} {error}".rstrip()) from error
    if answer.status == _GONE:
        raise DeliveryGone(f"{target.host} wants no more events (410)")
    if answer.status not in _ACCEPTED:
        raise DeliveryFailed(
            f"{target.host} answered {answer.status}",
            retry_after_s=_retry_after_s(answer, now),
            is_overloaded=answer.status >= _SERVER_ERROR or answer.status in _LATER,
        )


def next_pause_s(attempt: int, *, base_s: float) -> float:
    """How long to wait after try number *attempt* (from 1): *base_s* to twice that, doubled each time, up to an hour.

    The jitter over the upper half keeps the deliveries that failed together from coming back together.
    """
    longest = min(base_s * 2 ** min(attempt, 32), _LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)  # noqa: S311  # no secret


def _retry_after_s(answer: Answer, now: float) -> float | None:
    if answer.status not in _LATER:
        return None
    if answer.retry_after.isdecimal():
        return min(float(answer.retry_after), _LONGEST_PAUSE_S)
    try:
        date: datetime = parsedate_to_datetime(answer.retry_after)
    except ValueError:
        return None
    zoned = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(zoned.timestamp() - now, 0.0), _LONGEST_PAUSE_S)
