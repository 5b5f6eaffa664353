"""Sending: one try at a webhook, and what happens after it failed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from imagefleet import messages
from imagefleet.queues import DELIVER_TASK, WEBHOOK_QUEUE
from imagefleet.records import Claim
from imagefleet.webhooks import Delivery
from imagefleet_worker.delivery import deliver, next_pause_s
from imagefleet_worker.errors import AddressRefused, DeliveryFailed, DeliveryGone
from imagefleet_worker.metrics import Outcome
from imagefleet_worker.settings import WebhookSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Counter:
    """What every delivery of this process shares."""

    settings: WebhookSettings
    #: Puts a message in the place of a claimed one, due after so many seconds.
    postpone: Callable[[str, float, str], None]
    #: Puts a claimed delivery among the dead letters, with a code, a sentence and the number of tries.
    bury: Callable[[str, str, str, int], None]
    #: Counts what came of a try.
    count: Callable[[Outcome], None]


def send(data: Any, *, claim: Claim, counter: Counter, now: float) -> bool:
    """Try the delivery *data* once; whether it is to be tried again.

    Raises:
        pydantic.ValidationError: where *data* is no delivery.
    """
    delivery = Delivery.model_validate(data)
    context = {"event_id": delivery.event_id, "attempt": delivery.attempt}
    try:
        deliver(delivery, settings=counter.settings, now=now)
    except DeliveryFailed as error:
        first_at = delivery.first_at or now
        pause_s = error.retry_after_s or next_pause_s(delivery.attempt, base_s=counter.settings.retry_base_s)
        if now + pause_s - first_at <= counter.settings.retry_for_s:
            log.warning("webhook postponed", reason=error.message, pause_s=round(pause_s, 1), **context)
            following = delivery.model_copy(update={"attempt": delivery.attempt + 1, "first_at": first_at})
            counter.postpone(claim.token, pause_s, _message(following))
            counter.count("postponed")
            return True
        log.warning("webhook given up", reason=error.message, **context)
        counter.bury(claim.token, error.code, error.message, delivery.attempt)
        counter.count("given_up")
    except (AddressRefused, DeliveryGone) as error:
        log.warning("webhook refused", code=error.code, reason=error.message, **context)
        counter.bury(claim.token, error.code, error.message, delivery.attempt)
        counter.count("refused")
    else:
        counter.count("delivered")
        log.info("webhook delivered", **context)
    return False


def _message(delivery: Delivery) -> str:
    kwargs = {"delivery": delivery.model_dump(mode="json")}
    return messages.encode(DELIVER_TASK, kwargs, message_id=delivery.event_id, queue=WEBHOOK_QUEUE)
