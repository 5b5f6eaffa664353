"""Dead letters: messages that are not run any more, kept with the reason, to be inspected and replayed.

As in `imagefleet.store.records`, each function returns a command.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from imagefleet.contract.queues import DELIVER_TASK, LOST_WORKERS_HEADER, REDELIVERIES_HEADER
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load

_ADD: Final = load("add_dead_letter")
_READ: Final = load("read_dead_letters")
_REPLAY: Final = load("replay_dead_letter")
_PURGE: Final = load("purge_dead_letters")


class DeadLetter(BaseModel):
    """A message that will not be run any more."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:16])
    """Its own id, for show, replay and purge."""
    job_id: str | None = None
    """The job's id, if the message has one."""
    task: str | None = None
    """The task, if the message names one."""
    reason: str
    """A code, such as `poisoned` or `malformed`."""
    message: str
    """A sentence for a person."""
    attempts: int = 0
    """How often it was tried."""
    worker: str | None = None
    """The worker that put it here."""
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    """When, by that worker's clock."""
    list_key: str
    """The list that it was taken from."""
    original: str
    """The message as it lay there."""


def add(keys: Keys, letter: DeadLetter, *, most: int, ttl_s: int) -> Command:
    """Keep *letter*; drop letters older than *ttl_s* seconds and the oldest above *most*. Replies their number."""
    return _ADD(
        letters=keys.dead,
        index=keys.dead_index,
        id=letter.id,
        letter=letter.model_dump_json(),
        most=most,
        ttl_s=ttl_s,
    )


def newest(keys: Keys, count: int) -> Command:
    """The newest *count* letters as JSON, newest first."""
    return _READ(letters=keys.dead, index=keys.dead_index, count=count)


def read(keys: Keys, letter_id: str) -> Command:
    """One letter as JSON, or nil."""
    return ("HGET", keys.dead, letter_id)


def replay(keys: Keys, letter: DeadLetter) -> Command:
    """Queue the message as a new one, without its redeliveries and record. Replies 1, or 0 if there is no letter."""
    return _REPLAY(
        letters=keys.dead,
        index=keys.dead_index,
        list=letter.list_key,
        record=keys.job(letter.job_id or ""),
        id=letter.id,
        message=_as_new(letter.original),
        drops_record=int(bool(letter.job_id)),
    )


def purge(keys: Keys, *letter_ids: str) -> Command:
    """Remove letters, all of them if none is named. Replies the number."""
    return _PURGE(letters=keys.dead, index=keys.dead_index, ids=letter_ids)


def _as_new(message: str) -> str:
    try:
        envelope = json.loads(message)
        for name in (REDELIVERIES_HEADER, LOST_WORKERS_HEADER):
            envelope["headers"].pop(name, None)
        if envelope["headers"].get("task") == DELIVER_TASK:
            envelope["body"] = _delivery_as_new(envelope["body"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return message
    return json.dumps(envelope)


def _delivery_as_new(body: str) -> str:
    """A delivery gets all its tries again, the first at once; its event and id stay the same."""
    args, kwargs, embed = json.loads(body)
    kwargs["delivery"] |= {"attempt": 1, "first_at": None, "last_error": None, "replayed": True}
    return json.dumps([args, kwargs, embed])
