"""Webhook records: what became of the webhooks of a job, kept in the job's own record.

As in `imagefleet.store.records`, each function returns a command. The script that ends a job notes that its webhook is
queued, and senders note each try. Events of progress leave no trace: they are sent once or not at all.
"""

import json
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load

#: The field of a job's record: JSON, an object with the name of each event.
FIELD: Final = "webhooks"

_NOTE: Final = load("note_webhook")


class WebhookState(StrEnum):
    """How far one webhook is."""

    QUEUED = "queued"
    """No sender has tried it yet."""
    POSTPONED = "postponed"
    """A try failed, and another one follows."""
    DELIVERED = "delivered"
    """Its receiver has accepted it."""
    FAILED = "failed"
    """It was given up, and is a dead letter."""


class WebhookRecord(BaseModel):
    """What became of one webhook of a job."""

    # A newer sender may note more; an older client must still read it.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    event: str
    """Such as `job.succeeded`."""
    state: WebhookState = WebhookState.QUEUED
    """How far it is."""
    id: str | None = None
    """The `webhook-id`, once a sender has tried it."""
    attempts: int = 0
    """Tries so far."""
    status: int | None = None
    """HTTP status of the last response; none if nothing answered."""
    at: AwareDatetime | None = None
    """When it was delivered, given up or postponed last, by the clock of its sender."""
    due_at: AwareDatetime | None = None
    """When the next try is due, if one follows."""
    reason: str | None = None
    """Why the last try failed."""


def note(keys: Keys, job_id: str, webhook: WebhookRecord) -> Command:
    """Note *webhook* in the record of its job. Replies 1, or 0 if that record is gone."""
    return _NOTE(
        record=keys.job(job_id),
        event=webhook.event,
        webhook=webhook.model_dump_json(exclude={"event"}, exclude_none=True),
    )


def read(text: str | None) -> tuple[WebhookRecord, ...]:
    """The webhooks in the value of `FIELD`, by the names of their events."""
    found = json.loads(text) if text else {}
    return tuple(WebhookRecord.model_validate({**found[event], "event": event}) for event in sorted(found))
