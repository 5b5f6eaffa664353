"""Notes: what became of a webhook, written into the record of its job."""

import json
from datetime import UTC, datetime
from typing import Any

import redis
import structlog

from imagefleet.errors import ImageFleetError, reason_of
from imagefleet.store import webhook_records
from imagefleet.store.keys import Keys
from imagefleet.store.webhook_records import WebhookRecord, WebhookState
from imagefleet.webhooks import Delivery

log = structlog.get_logger(__name__)


class WebhookNotes:
    """Notes the tries at webhooks; safe to use from many threads.

    A note that Redis does not take is lost: the webhook must not be sent again for it.
    """

    def __init__(self, client: "redis.Redis", *, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def delivered(self, delivery: Delivery, *, status: int, now: float) -> None:
        """Its receiver has accepted *delivery* with the HTTP *status*."""
        self._note(delivery, state=WebhookState.DELIVERED, status=status, at=_moment(now))

    def postponed(self, delivery: Delivery, error: ImageFleetError, *, now: float, pause_s: float) -> None:
        """The try at *delivery* failed, and the next one is due after *pause_s*."""
        due_at = _moment(now + pause_s)
        self._note(delivery, error, state=WebhookState.POSTPONED, at=_moment(now), due_at=due_at)

    def failed(self, delivery: Delivery, error: ImageFleetError, *, now: float) -> None:
        """*delivery* is given up."""
        self._note(delivery, error, state=WebhookState.FAILED, at=_moment(now))

    def _note(self, delivery: Delivery, error: ImageFleetError | None = None, **known: Any) -> None:
        event, job_id = _subject(delivery.body)
        if not event or not job_id:  # an event of somebody else's
            return
        if error is not None:
            known = {"reason": error.message, "status": getattr(error, "status", None), **known}
        known = {"event": event, "id": delivery.event_id, "attempts": delivery.attempt, **known}
        webhook = WebhookRecord.model_validate(known)
        try:
            self._client.execute_command(*webhook_records.note(self._keys, job_id, webhook))
        except redis.RedisError as failure:
            log.warning("not noted what became of a webhook", event_id=delivery.event_id, error=reason_of(failure))


def _subject(body: str) -> tuple[str, str]:
    """The event in *body* and the id of its job; empty if it has none."""
    try:
        event = json.loads(body)
        kind, job_id = event["type"], event["data"]["id"]
    except (ValueError, TypeError, KeyError, IndexError):
        return "", ""
    return (kind, job_id) if isinstance(kind, str) and isinstance(job_id, str) else ("", "")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
