"""Sending: one try at a webhook, and what happens after it failed."""

import time
from typing import Any

import structlog

from imagefleet import messages
from imagefleet.errors import ImageFleetError
from imagefleet.queues import DELIVER_TASK, WEBHOOK_QUEUE
from imagefleet.records import Claim
from imagefleet.webhooks import Delivery
from imagefleet_worker.addresses import endpoint_of
from imagefleet_worker.counter import Counter
from imagefleet_worker.delivery import deliver, next_pause_s
from imagefleet_worker.errors import AddressRefused, DeliveryFailed, DeliveryGone
from imagefleet_worker.metrics import Outcome

log = structlog.get_logger(__name__)


def send(data: Any, *, claim: Claim, counter: Counter, now: float) -> bool:
    """Try the delivery *data* once; whether it is to be tried again.

    Raises:
        pydantic.ValidationError: where *data* is no delivery.
    """
    given = Delivery.model_validate(data)
    delivery = given.model_copy(update={"first_at": given.first_at or now})
    if delivery.expires_at is not None:
        return _send_or_drop(delivery, counter=counter, now=now)
    try:
        endpoint = endpoint_of(delivery.url)
        _check_not_gone(delivery, counter=counter)
        pause_s = counter.circuits.enter(endpoint)
        if pause_s is not None:
            return _hold(delivery, pause_s, claim=claim, counter=counter, now=now)
        _try(delivery, endpoint, counter=counter, now=now)
    except DeliveryFailed as error:
        return _postpone(delivery, error, claim=claim, counter=counter, now=now)
    except DeliveryGone as error:
        counter.gone.add(delivery.url)
        _bury(delivery, error, "refused", claim=claim, counter=counter)
    except AddressRefused as error:
        _bury(delivery, error, "refused", claim=claim, counter=counter)
    else:
        if delivery.replayed:
            counter.gone.remove(delivery.url)
        counter.count("delivered")
        log.info("webhook delivered", **_about(delivery))
    return False


def _send_or_drop(delivery: Delivery, *, counter: Counter, now: float) -> bool:
    """Try news that is soon stale, where there is room for it and at once; whatever comes of it, never again."""
    try:
        endpoint = endpoint_of(delivery.url)
        _check_not_gone(delivery, counter=counter)
        if now > (delivery.expires_at or now) or counter.circuits.enter(endpoint) is not None:
            counter.count("dropped")
            return False
        _try(delivery, endpoint, counter=counter, now=now)
    except DeliveryGone:
        counter.gone.add(delivery.url)
        counter.count("refused")
    except (DeliveryFailed, AddressRefused) as error:
        log.info("webhook dropped", code=error.code, reason=error.message, **_about(delivery))
        counter.count("dropped")
    else:
        counter.count("delivered")
    return False


def _check_not_gone(delivery: Delivery, *, counter: Counter) -> None:
    if not delivery.replayed and counter.gone.has(delivery.url):
        raise DeliveryGone("the receiver answered 410 before, so nothing is sent there; replay it to try again")


def _try(delivery: Delivery, endpoint: str, *, counter: Counter, now: float) -> None:
    start = time.monotonic()
    failure: DeliveryFailed | None = None
    try:
        deliver(delivery, settings=counter.settings, now=now)
    except DeliveryFailed as error:
        failure = error
        raise
    finally:
        counter.circuits.leave(
            endpoint,
            failed=failure is not None and failure.is_overloaded,
            took_s=time.monotonic() - start,
            retry_after_s=failure.retry_after_s if failure else None,
        )


def _hold(delivery: Delivery, pause_s: float, *, claim: Claim, counter: Counter, now: float) -> bool:
    """Put back a delivery that was not tried: its endpoint is busy, or has failed too often."""
    if _is_too_late(delivery, pause_s, counter=counter, now=now):
        error = DeliveryFailed(delivery.last_error or "the endpoint was busy or failing all the time")
        _bury(delivery, error, "given_up", claim=claim, counter=counter)
        return False
    counter.postpone(claim.token, pause_s, _message(delivery))
    counter.count("held")
    log.debug("webhook held back", pause_s=round(pause_s, 1), **_about(delivery))
    return True


def _postpone(delivery: Delivery, error: DeliveryFailed, *, claim: Claim, counter: Counter, now: float) -> bool:
    pause_s = error.retry_after_s or next_pause_s(delivery.attempt, base_s=counter.settings.retry_base_s)
    if _is_too_late(delivery, pause_s, counter=counter, now=now):
        _bury(delivery, error, "given_up", claim=claim, counter=counter)
        return False
    log.warning("webhook postponed", reason=error.message, pause_s=round(pause_s, 1), **_about(delivery))
    following = delivery.model_copy(update={"attempt": delivery.attempt + 1, "last_error": error.message})
    counter.postpone(claim.token, pause_s, _message(following))
    counter.count("postponed")
    return True


def _is_too_late(delivery: Delivery, pause_s: float, *, counter: Counter, now: float) -> bool:
    return now + pause_s - (delivery.first_at or now) > counter.settings.retry_for_s


def _bury(delivery: Delivery, error: ImageFleetError, outcome: Outcome, *, claim: Claim, counter: Counter) -> None:
    log.warning("webhook given up", code=error.code, reason=error.message, **_about(delivery))
    counter.bury(claim.token, error.code, error.message, delivery.attempt)
    counter.count(outcome)


def _about(delivery: Delivery) -> dict[str, Any]:
    return {"event_id": delivery.event_id, "attempt": delivery.attempt}


def _message(delivery: Delivery) -> str:
    kwargs = {"delivery": delivery.model_dump(mode="json")}
    return messages.encode(DELIVER_TASK, kwargs, message_id=delivery.event_id, queue=WEBHOOK_QUEUE)
