"""Endings: the end of a job that no worker has begun: canceled, or past its deadline.

The client or worker that ends it reads `FIELDS` of its record, and sends the command made of them.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from imagefleet.contract import messages
from imagefleet.contract.jobs import Webhook
from imagefleet.contract.results import FinalStatus, JobError, JobResult, JobStatus
from imagefleet.store import records
from imagefleet.store.events import end_event
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command, load

FIELDS: Final = ("model", "webhook", "metadata", "message")

_EXPIRE: Final = load("expire")
_FIND_OVERDUE: Final = load("find_overdue")


def read(keys: Keys, job_id: str) -> Command:
    """Replies the values of `FIELDS`, `None` for each that is not set."""
    return records.read(keys, job_id, *FIELDS)


class Ending(NamedTuple):
    """The end of a job, as scripts record it."""

    #: As JSON.
    result: str
    event: str
    outgoing: Sequence[records.Outgoing]


def canceled(keys: Keys, job_id: str, fields: Sequence[str | None], *, sentence: str) -> Ending:
    """How a job ends that is canceled before any worker has begun it, for the reason in *sentence*."""
    known = _Known.of(fields)
    result = _result(job_id, JobStatus.CANCELED, sentence, known)
    ended = end_event(result, webhook=known.webhook, keys=keys)
    return Ending(ended.result, ended.event, ended.outgoing)


def cancel(keys: Keys, job_id: str, fields: Sequence[str | None]) -> Command:
    """End a queued job, or ask the worker of a running one to stop. Replies as `records.cancel`."""
    ending = canceled(keys, job_id, fields, sentence="The job was canceled before any worker took it.")
    return records.cancel(keys, job_id, result=ending.result, event=ending.event, outgoing=ending.outgoing)


def expire(keys: Keys, job_id: str, fields: Sequence[str | None]) -> Command:
    """End a queued job whose deadline has passed.

    Replies `expired`, `running` (its worker ends it), `queued` (not yet, by the clock of Redis), the status with which
    it had ended already, or `unknown`.
    """
    known = _Known.of(fields)
    result = _result(job_id, JobStatus.EXPIRED, "The deadline passed before any worker took it.", known)
    ended = end_event(result, webhook=known.webhook, keys=keys)
    return _EXPIRE(
        record=keys.job(job_id),
        deadlines=keys.deadlines,
        job_id=job_id,
        groups=keys.group(""),
        result=ended.result,
        ttl_s=records.PENDING_TTL_S,  # the message still waits, like that of a canceled job
        channel=keys.events(job_id),
        event=ended.event,
        outgoing=chain.from_iterable(ended.outgoing),
    )


def overdue(keys: Keys, *, count: int) -> Command:
    """Replies the ids of at most *count* jobs whose deadlines have passed and that are not known to have ended."""
    return _FIND_OVERDUE(deadlines=keys.deadlines, count=count)


class _Known(NamedTuple):
    """What the record of a job says of it before any worker has seen it."""

    model: str | None
    webhook: Webhook | None
    metadata: dict[str, Any]

    @classmethod
    def of(cls, fields: Sequence[str | None]) -> "_Known":
        """Read the values of `FIELDS`."""
        model, webhook, metadata, message = fields
        if message:
            return cls._in_message(message)
        labels = json.loads(metadata) if metadata else {}
        return cls(model, Webhook.model_validate_json(webhook) if webhook else None, labels)

    @classmethod
    def _in_message(cls, message: str) -> "_Known":
        """What a message asks for that no worker has checked, as far as it is valid."""
        job = messages.read_kwargs(message).get("job")
        if not isinstance(job, Mapping):
            return cls(None, None, {})
        model, metadata = job.get("model"), job.get("metadata")
        try:
            webhook = Webhook.model_validate(job.get("webhook"))
        except ValidationError:
            webhook = None
        return cls(model if isinstance(model, str) else None, webhook, metadata if isinstance(metadata, dict) else {})


def _result(job_id: str, status: FinalStatus, sentence: str, known: _Known) -> JobResult:
    return JobResult(
        id=job_id,
        status=status,
        error=JobError(code=status.value, message=sentence, retryable=False),
        model=known.model,
        metadata=known.metadata,
        finished_at=datetime.now(UTC),
    )
