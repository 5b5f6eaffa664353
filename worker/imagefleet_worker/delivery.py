"""Delivery: one try at handing an event to its receiver."""

import random
import time
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final

import httpx

from imagefleet import webhooks
from imagefleet.webhooks import Delivery
from imagefleet_worker.addresses import Target, resolve
from imagefleet_worker.errors import DeliveryFailed, DeliveryGone
from imagefleet_worker.settings import WebhookSettings

_LONGEST_PAUSE_S: Final = 3600.0
#: Nothing of an answer is used but its status; more than this is not even read.
_MOST_ANSWER_BYTES: Final = 65_536
_GONE: Final = 410
_USER_AGENT: Final = f"imagefleet/{version('imagefleet')}"


def deliver(delivery: Delivery, *, settings: WebhookSettings, now: float) -> None:
    """Send *delivery* once, signed with every secret; *now* is the time of the signature, in seconds since 1970.

    Raises:
        AddressRefused: where its URL leads where nothing may be sent.
        DeliveryGone: where the receiver wants no more (410).
        DeliveryFailed: for any answer but 2xx, and for none; `retry_after_s` is what the receiver asked for.
    """
    target = resolve(delivery.url, allow_hosts=settings.allow_hosts)
    body = delivery.body.encode()
    secrets = [secret.get_secret_value() for secret in settings.secrets]
    signed = webhooks.headers(body, secrets=secrets, event_id=delivery.event_id, timestamp=int(now))
    try:
        answer = _post(target, body, headers=signed, timeout_s=settings.timeout_s)
    except httpx.HTTPError as error:
        raise DeliveryFailed(f"{target.host} did not answer: {type(error).__name__} {error}".rstrip()) from error
    if answer.status_code == _GONE:
        raise DeliveryGone(f"{target.host} wants no more events (410)")
    if not answer.is_success:
        raise DeliveryFailed(f"{target.host} answered {answer.status_code}", retry_after_s=_retry_after_s(answer, now))


def next_pause_s(attempt: int, *, base_s: float) -> float:
    """How long to wait after try number *attempt* (from 1): doubled each time, up to an hour, with jitter."""
    longest = min(base_s * 2 ** min(attempt, 32), _LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)  # noqa: S311  # no secret


def _post(target: Target, body: bytes, *, headers: dict[str, str], timeout_s: float) -> httpx.Response:
    own = {"host": target.host_header, "content-type": "application/json", "user-agent": _USER_AGENT}
    deadline = time.monotonic() + timeout_s
    # The environment's proxies would resolve the name once more, and a redirect leads to an address that nobody checked.
    with (
        httpx.Client(trust_env=False, follow_redirects=False, timeout=timeout_s) as client,
        client.stream(
            "POST",
            target.url,
            content=body,
            headers={**own, **headers},
            extensions={"sni_hostname": target.host},
        ) as answer,
    ):
        size = 0
        for chunk in answer.iter_raw():
            size += len(chunk)
            if size > _MOST_ANSWER_BYTES or time.monotonic() > deadline:
                break
        return answer


def _retry_after_s(answer: httpx.Response, now: float) -> float | None:
    value = answer.headers.get("retry-after", "")
    if value.isdecimal():
        return min(float(value), _LONGEST_PAUSE_S)
    try:
        return min(max(parsedate_to_datetime(value).timestamp() - now, 0.0), _LONGEST_PAUSE_S)
    except (TypeError, ValueError):
        return None
