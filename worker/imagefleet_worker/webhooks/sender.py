"""The webhook sender: one try at a delivery, and what follows if it fails."""

import time
from typing import Any

import redis
import structlog

from imagefleet.contract import messages
from imagefleet.contract.queues import DELIVER_TASK, WEBHOOK_QUEUE
from imagefleet.errors import ImageFleetError
from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim
from imagefleet.webhooks import Delivery
from imagefleet_worker.observability.metrics import DeliveryOutcome, Metrics
from imagefleet_worker.queue.backoff import backoff_s
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.settings import WebhookSettings
from imagefleet_worker.webhooks.circuit_breakers import CircuitBreakers
from imagefleet_worker.webhooks.delivery import LONGEST_PAUSE_S, deliver
from imagefleet_worker.webhooks.errors import AddressRefused, DeliveryFailed, DeliveryGone
from imagefleet_worker.webhooks.fresh_links import FreshLinks
from imagefleet_worker.webhooks.gone_receivers import GoneReceivers
from imagefleet_worker.webhooks.notes import WebhookNotes
from imagefleet_worker.webhooks.ssrf_guard import endpoint_of

log = structlog.get_logger(__name__)


class WebhookSender:
    """Sends the deliveries of one worker process; safe to use from many threads."""

    def __init__(
        self,
        settings: WebhookSettings,
        client: "redis.Redis",
        *,
        keys: Keys,
        leases: Leases,
        dead_letters: DeadLetterWriter,
        metrics: Metrics,
        links: FreshLinks,
    ) -> None:
        """Postpone deliveries through *leases*, give them up through *dead_letters*, sign their links by *links*."""
        self._settings = settings
        self._breakers = CircuitBreakers(settings)
        self._gone = GoneReceivers(client, keys=keys, for_s=settings.gone_for_s)
        self._notes = WebhookNotes(client, keys=keys)
        self._leases = leases
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._links = links

    def send(self, data: Any, *, claim: Claim, now: float) -> bool:
        """Try the delivery *data*, held by *claim*, once at the moment *now* (seconds since 1970).

        Returns:
            Whether it has been postponed to a later try.

        Raises:
            pydantic.ValidationError: If *data* is no delivery.
        """
        given = Delivery.model_validate(data)
        delivery = given.model_copy(update={"first_at": given.first_at or now})
        if delivery.expires_at is not None:
            self._send_or_drop(delivery, now=now)
            return False
        try:
            endpoint = endpoint_of(delivery.url)
            self._check_not_gone(delivery)
            pause_s = self._breakers.enter(endpoint)
            if pause_s is not None:
                return self._hold(delivery, pause_s, claim=claim, now=now)
            status = self._try(delivery, endpoint, now=now)
        except DeliveryFailed as error:
            return self._postpone(delivery, error, claim=claim, now=now)
        except DeliveryGone as error:
            self._gone.add(delivery.url)
            self._give_up(delivery, error, "refused", claim=claim, now=now)
        except AddressRefused as error:
            self._give_up(delivery, error, "refused", claim=claim, now=now)
        else:
            if delivery.replayed:
                self._gone.remove(delivery.url)
            self._notes.delivered(delivery, status=status, now=now)
            self._metrics.webhook("delivered")
            log.info("webhook delivered", **_about(delivery))
        return False

    def _send_or_drop(self, delivery: Delivery, *, now: float) -> None:
        """Try progress that expires soon, if the endpoint is free; it is never tried again."""
        try:
            endpoint = endpoint_of(delivery.url)
            self._check_not_gone(delivery)
            if now > (delivery.expires_at or now) or self._breakers.enter(endpoint) is not None:
                self._metrics.webhook("dropped")
                return
            self._try(delivery, endpoint, now=now)
        except DeliveryGone:
            self._gone.add(delivery.url)
            self._metrics.webhook("refused")
        except (DeliveryFailed, AddressRefused) as error:
            log.info("webhook dropped", code=error.code, reason=error.message, **_about(delivery))
            self._metrics.webhook("dropped")
        else:
            self._metrics.webhook("delivered")

    def _check_not_gone(self, delivery: Delivery) -> None:
        if not delivery.replayed and self._gone.has(delivery.url):
            raise DeliveryGone("the receiver answered 410 before, so nothing is sent there; replay it to try again")

    def _try(self, delivery: Delivery, endpoint: str, *, now: float) -> int:
        start = time.monotonic()
        failure: DeliveryFailed | None = None
        try:
            fresh = delivery.model_copy(update={"body": self._links.in_body(delivery.body)})
            return deliver(fresh, settings=self._settings, now=now)
        except DeliveryFailed as error:
            failure = error
            raise
        finally:
            self._breakers.leave(
                endpoint,
                failed=failure is not None and failure.is_overloaded,
                took_s=time.monotonic() - start,
                retry_after_s=failure.retry_after_s if failure else None,
            )

    def _hold(self, delivery: Delivery, pause_s: float, *, claim: Claim, now: float) -> bool:
        """Postpone a delivery that was not tried, because its endpoint is busy or fails; False if it is too late."""
        if self._is_too_late(delivery, pause_s, now=now):
            error = DeliveryFailed(
                delivery.last_error or "the endpoint was busy or failing all the time; replay the event when it is not"
            )
            untried = delivery.model_copy(update={"attempt": delivery.attempt - 1})
            self._give_up(untried, error, "given_up", claim=claim, now=now)
            return False
        self._leases.postpone(claim.token, due_in_s=pause_s, message=_message(delivery))
        self._metrics.webhook("held")
        log.debug("webhook held back", pause_s=round(pause_s, 1), **_about(delivery))
        return True

    def _postpone(self, delivery: Delivery, error: DeliveryFailed, *, claim: Claim, now: float) -> bool:
        """Postpone a delivery that failed to its next try; False if it is too late for another one."""
        base_s = self._settings.retry_base_s
        pause_s = error.retry_after_s or backoff_s(delivery.attempt, base_s=base_s, longest_s=LONGEST_PAUSE_S)
        if self._is_too_late(delivery, pause_s, now=now):
            self._give_up(delivery, error, "given_up", claim=claim, now=now)
            return False
        log.warning("webhook postponed", reason=error.message, pause_s=round(pause_s, 1), **_about(delivery))
        following = delivery.model_copy(update={"attempt": delivery.attempt + 1, "last_error": error.message})
        self._notes.postponed(delivery, error, now=now, pause_s=pause_s)  # first: later, another sender may deliver it
        self._leases.postpone(claim.token, due_in_s=pause_s, message=_message(following))
        self._metrics.webhook("postponed")
        return True

    def _is_too_late(self, delivery: Delivery, pause_s: float, *, now: float) -> bool:
        return now + pause_s - (delivery.first_at or now) > self._settings.retry_for_s

    def _give_up(
        self, delivery: Delivery, error: ImageFleetError, outcome: DeliveryOutcome, *, claim: Claim, now: float
    ) -> None:
        log.warning("webhook given up", code=error.code, reason=error.message, **_about(delivery))
        self._dead_letters.add_delivery(claim.token, error.code, error.message, delivery.attempt)
        self._notes.failed(delivery, error, now=now)
        self._metrics.webhook(outcome)


def _about(delivery: Delivery) -> dict[str, Any]:
    return {"event_id": delivery.event_id, "attempt": delivery.attempt}


def _message(delivery: Delivery) -> str:
    kwargs = {"delivery": delivery.model_dump(mode="json")}
    return messages.encode(DELIVER_TASK, kwargs, message_id=delivery.event_id, queue=WEBHOOK_QUEUE)
