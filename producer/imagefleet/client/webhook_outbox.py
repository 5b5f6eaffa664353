"""Operations on webhooks that are not delivered: list, find and replay. Without I/O, like `operations`."""

import json
from collections.abc import Generator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from imagefleet.client.operations import Operation
from imagefleet.store import dead_letters, webhook_queue
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command
from imagefleet.webhooks import Delivery

_QUEUED: Final = 1000


class DeliveryState(StrEnum):
    """The state of an undelivered webhook."""

    QUEUED = "queued"
    POSTPONED = "postponed"
    FAILED = "failed"


class Undelivered(BaseModel):
    """A webhook that its receiver has not accepted."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    id: str
    """The `webhook-id`; the same for every try."""
    state: DeliveryState
    """queued: waits for a sender; postponed: waits for its next try; failed: a dead letter."""
    event: str | None
    """Such as `job.succeeded`."""
    job_id: str | None
    """The id of its job."""
    url: str
    """The URL of its receiver."""
    attempts: int
    """Tries so far."""
    due_at: AwareDatetime | None = None
    """The time of its next try, if it is postponed."""
    failed_at: AwareDatetime | None = None
    """When it became a dead letter, if it has failed."""
    reason: str | None = None
    """Why the last try failed."""
    body: str = Field(repr=False)
    """The event as JSON text, as it is sent."""
    source: str = Field(exclude=True, repr=False)
    """The entry in Redis, for `replay`."""


def list_all(keys: Keys, *, states: frozenset[DeliveryState], limit: int) -> Operation[list[Undelivered]]:
    """At most *limit* webhooks in each of *states*: the failures that are newest, the others that are due first."""
    return (yield from _find(keys, states=states, limit=limit))


def find(keys: Keys, event_id: str) -> Operation[list[Undelivered]]:
    """The undelivered webhooks with this id; several if the end of a job was announced again."""
    found = yield from _find(keys, states=frozenset(DeliveryState), limit=_QUEUED, text=event_id)
    return [each for each in found if each.id == event_id]


def replay(keys: Keys, webhook: Undelivered) -> Operation[bool]:
    """Have *webhook* sent now, with the same id; False if it is not in Redis any more.

    A failed webhook gets all its tries again, even if its receiver answered 410 before. A queued one stays as it is.
    """
    if webhook.state is DeliveryState.QUEUED:
        return True
    command: Command = webhook_queue.retry_now(keys, webhook.source)
    if webhook.state is DeliveryState.FAILED:
        command = dead_letters.replay(keys, DeadLetter.model_validate_json(webhook.source))
    [reply] = yield [command]
    return bool(reply)


def _find(keys: Keys, *, states: frozenset[DeliveryState], limit: int, text: str = "") -> Operation[list[Undelivered]]:
    found: list[Undelivered | None] = []
    if DeliveryState.FAILED in states:
        [letters] = yield [webhook_queue.failed(keys, text=text, count=limit)]
        found += map(_from_letter, letters)
    if DeliveryState.POSTPONED in states:
        found += yield from _postponed(keys, text=text, limit=limit)
    if DeliveryState.QUEUED in states:
        [queued] = yield [("LRANGE", keys.deliveries, -limit, -1)]
        found += (_read(message, source=message, state=DeliveryState.QUEUED) for message in reversed(queued))
    return [each for each in found if each is not None]


def _postponed(keys: Keys, *, text: str, limit: int) -> Generator[list[Command], list[Any], list[Undelivered | None]]:
    found: list[Undelivered | None] = []
    start, looked_at = 0, webhook_queue.PAGE
    while looked_at == webhook_queue.PAGE and len(found) < limit:
        [[looked_at, flat]] = yield [webhook_queue.postponed(keys, text=text, count=limit - len(found), start=start)]
        start += looked_at
        for due, entry in zip(flat[::2], flat[1::2], strict=True):
            due_at = datetime.fromtimestamp(float(due), UTC)
            message = json.loads(entry)[1]
            found.append(_read(message, source=entry, state=DeliveryState.POSTPONED, due_at=due_at))
    return found


def _from_letter(text: str) -> Undelivered | None:
    letter = DeadLetter.model_validate_json(text)
    return _read(
        letter.original,
        source=text,
        state=DeliveryState.FAILED,
        failed_at=letter.at,
        attempts=letter.attempts,
        reason=letter.message,
    )


def _read(message: str, *, source: str, state: DeliveryState, **more: Any) -> Undelivered | None:
    """What *message* delivers; None for a message that is no delivery."""
    try:
        delivery = Delivery.model_validate(json.loads(json.loads(message)["body"])[1]["delivery"])
        event = json.loads(delivery.body)
    except (ValueError, TypeError, KeyError, IndexError, ValidationError):
        return None
    known = {
        "id": delivery.event_id,
        "event": event.get("type"),
        "job_id": event.get("data", {}).get("id"),
        "url": delivery.url,
        "attempts": delivery.attempt - 1,
        "reason": delivery.last_error,
        "body": delivery.body,
    }
    return Undelivered.model_validate({**known, **more, "source": source, "state": state})
