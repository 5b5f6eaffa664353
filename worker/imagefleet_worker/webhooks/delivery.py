"""Delivery: sends an event to its receiver once."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final

from imagefleet import tracing, webhooks
from imagefleet.errors import described
from imagefleet.webhooks import Delivery
from imagefleet_worker.settings import WebhookSettings
from imagefleet_worker.webhooks.errors import DeliveryFailed, DeliveryGone
from imagefleet_worker.webhooks.http_post import NO_RESPONSE, Response, post
from imagefleet_worker.webhooks.signing_secrets import secrets_for
from imagefleet_worker.webhooks.ssrf_guard import resolve

#: Between two tries at a delivery.
LONGEST_PAUSE_S: Final = 3600.0
_ACCEPTED: Final = range(200, 300)
_GONE: Final = 410
#: Too many requests, and service unavailable: the responses whose `Retry-After` is obeyed.
_LATER: Final = (429, 503)
_SERVER_ERROR: Final = 500
_USER_AGENT: Final = f"imagefleet/{version('imagefleet')}"


def deliver(delivery: Delivery, *, settings: WebhookSettings, now: float) -> int:
    """Send *delivery* once, signed with every secret of its receiver; return the HTTP status with which it is accepted.

    *now* is the time of the signature, in seconds since 1970. A delivery takes at most `settings.timeout_s`, besides
    the time that the system's resolver needs for the name.

    Raises:
        AddressRefused: If its URL leads to an address to which nothing may be sent.
        DeliveryGone: If the receiver wants no more events (410).
        DeliveryFailed: If no response came in time, or one that is not 2xx (a redirect is not); `retry_after_s` is what
            the receiver asked for with 429 or 503, at most an hour.
    """
    target = resolve(delivery.url, allow_hosts=settings.allow_hosts)
    body = delivery.body.encode()
    secrets = secrets_for(target, settings=settings)
    signed = webhooks.headers(body, secrets=secrets, event_id=delivery.event_id, timestamp=int(now))
    headers = {"content-type": "application/json", "user-agent": _USER_AGENT, **tracing.carrier(), **signed}
    try:
        response = post(target, body, headers=headers, timeout_s=settings.timeout_s)
    except NO_RESPONSE as error:
        raise DeliveryFailed(
            f"{target.host} did not answer: {described(error)}; check that it runs and can be reached"
        ) from error
    if response.status == _GONE:
        raise DeliveryGone(f"{target.host} wants no more events (410); replay the event if it does after all")
    if response.status not in _ACCEPTED:
        raise DeliveryFailed(
            f"{target.host} answered {response.status}; let it answer 2xx, and it gets the event at the next try",
            status=response.status,
            retry_after_s=_retry_after_s(response, now),
            is_overloaded=response.status >= _SERVER_ERROR or response.status in _LATER,
        )
    return response.status


def _retry_after_s(response: Response, now: float) -> float | None:
    if response.status not in _LATER:
        return None
    if response.retry_after.isdecimal():
        return min(float(response.retry_after), LONGEST_PAUSE_S)
    try:
        date: datetime = parsedate_to_datetime(response.retry_after)
    except ValueError:
        return None
    zoned = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(zoned.timestamp() - now, 0.0), LONGEST_PAUSE_S)
