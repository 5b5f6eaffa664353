"""Endings: how a job ends that no worker has begun: canceled, or past its deadline.

Whoever ends it, a client or a worker, reads `FIELDS` of its record and sends the command made of them.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from imagefleet import expiry, records
from imagefleet.announcements import announce
from imagefleet.jobs import Webhook
from imagefleet.queues import Keys
from imagefleet.records import Command
from imagefleet.results import FinalStatus, JobError, JobResult, JobStatus

FIELDS: Final = ("model", "webhook", "metadata")


def read(keys: Keys, job_id: str) -> Command:
    """Replies the values of `FIELDS`, `None` for each that is not set."""
    return records.read(keys, job_id, *FIELDS)


def cancel(keys: Keys, job_id: str, fields: Sequence[str | None]) -> Command:
    """End a queued job, or ask the worker of a running one to stop. Replies as `records.cancel`."""
    result = _result(job_id, JobStatus.CANCELED, "The job was canceled before any worker took it.", fields)
    told = announce(result, webhook=_webhook(fields), keys=keys)
    return records.cancel(keys, job_id, result=result.model_dump_json(), event=told.event, outgoing=told.outgoing)


def expire(keys: Keys, job_id: str, fields: Sequence[str | None]) -> Command:
    """End a queued job whose deadline has passed. Replies as `expiry.expire`."""
    result = _result(job_id, JobStatus.EXPIRED, "The deadline passed before any worker took it.", fields)
    told = announce(result, webhook=_webhook(fields), keys=keys)
    return expiry.expire(
        keys,
        job_id,
        result=result.model_dump_json(),
        event=told.event,
        ttl_s=records.PENDING_TTL_S,  # the message still waits, as that of a canceled job
        outgoing=told.outgoing,
    )


def _result(job_id: str, status: FinalStatus, sentence: str, fields: Sequence[str | None]) -> JobResult:
    model, _, metadata = fields
    labels: dict[str, Any] = json.loads(metadata) if metadata else {}
    return JobResult(
        id=job_id,
        status=status,
        error=JobError(code=status.value, message=sentence, retryable=False),
        model=model,
        metadata=labels,
        finished_at=datetime.now(UTC),
    )


def _webhook(fields: Sequence[str | None]) -> Webhook | None:
    _, webhook, _ = fields
    return Webhook.model_validate_json(webhook) if webhook else None
