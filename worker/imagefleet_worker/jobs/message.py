"""The claimed message of a job: what it asks for, checked, and what can be read of a message that is invalid."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from imagefleet.contract.jobs import GenerationJob, Webhook
from imagefleet.contract.queues import check_job_id
from imagefleet.errors import InvalidJob
from imagefleet.store.records import Claim
from imagefleet_worker.queue.claims import StartedAttempt
from imagefleet_worker.queue.lost_workers import LostWorker
from imagefleet_worker.settings import Settings

#: The fingerprint of a message that has none: such a message does not end a job that a client has queued.
NO_FINGERPRINT: Final = "none"


@dataclass(frozen=True, slots=True)
class Message:
    """A claimed message, as far as an attempt needs it."""

    job_id: str
    claim: Claim
    redeliveries: int
    #: The kwargs of the task, not checked yet.
    kwargs: Mapping[str, Any]
    #: The fingerprint of its job, as its sender has worked it out; empty if nobody has.
    fingerprint: str = ""
    #: Workers that were lost while the job was on their devices, the oldest first.
    losses: tuple[LostWorker, ...] = ()
    #: Celery's own deadline, if the message has one.
    expires: datetime | None = None
    #: Seconds that an attempt may take.
    time_limit_s: float = math.inf
    #: How the job was marked as running when it was claimed; None if it was not.
    started: StartedAttempt | None = None
    #: Whether Celery reports the end to somebody, so that the message must outlive it.
    is_awaited: bool = True

    @property
    def checked_fingerprint(self) -> str:
        """The fingerprint, if the claim has found the same one in the record of the job; else empty."""
        return self.fingerprint if self.started and self.fingerprint != NO_FINGERPRINT else ""


def parse_job(job_id: str, kwargs: Mapping[str, Any], *, settings: Settings) -> GenerationJob:
    """The job of a message with that id and those *kwargs*, for the model of *settings*.

    Raises:
        InvalidJob: With everything that is wrong.
    """
    check_job_id(job_id)
    data = kwargs.get("job")
    if set(kwargs) != {"job"} or not isinstance(data, Mapping):
        raise InvalidJob('kwargs: must be {"job": {...}} and nothing else')
    alias = settings.model.alias
    job = GenerationJob.parse({"model": alias, **data}, limits=settings.limits)
    if job.model != alias:
        raise InvalidJob(f"model: this queue serves {alias!r}; send {job.model!r} to the queue imagefleet.{job.model}")
    return job


def webhook_of_invalid_job(kwargs: Mapping[str, Any]) -> Webhook | None:
    """The webhook of a job that is otherwise invalid, so that its sender hears of the failure; None if it has none."""
    try:
        return Webhook.model_validate(kwargs["job"]["webhook"])
    except (KeyError, TypeError, ValidationError):
        return None
