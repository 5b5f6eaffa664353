"""`Snapshot`: a job's record at one moment. `JobEvent`: a change of it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.store import webhook_records
from imagefleet.store.webhook_records import WebhookRecord

#: The fields that a snapshot is made of, in the order that `Snapshot.from_record` expects.
FIELDS: Final = (
    "status",
    "progress",
    "result",
    "model",
    "attempts",
    "worker",
    "queued_at",
    "started_at",
    "ended_at",
    "cancel",
    "deadline",
    webhook_records.FIELD,
)


class Progress(NamedTuple):
    """The progress of a running job, in denoising steps."""

    done: int
    total: int

    @classmethod
    def parse(cls, text: str | None) -> "Progress | None":
        """Read `done/total` as it stands in the record."""
        if not text:
            return None
        done, _, total = text.partition("/")
        return cls(int(done), int(total))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A job by its record."""

    id: str
    status: JobStatus
    #: Set while the job runs, after its worker has reported a step.
    progress: Progress | None
    #: Set once the job has ended.
    result: JobResult | None
    model: str | None
    #: Attempts that have begun.
    attempts: int
    #: The worker that runs the job, or ran it last.
    worker: str | None
    #: All times by the clock of Redis.
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    #: Somebody asked to stop the job while it ran.
    cancel_requested: bool
    #: When the job expires; of a job that has not ended.
    deadline: datetime | None = None
    #: What became of its webhooks: those that are queued, and those that a sender has tried.
    webhooks: tuple[WebhookRecord, ...] = ()

    @property
    def is_overdue(self) -> bool:
        """Whether the job is queued and its deadline has passed, by this machine's clock."""
        return self.status is JobStatus.QUEUED and self.deadline is not None and self.deadline <= datetime.now(UTC)

    @classmethod
    def from_record(cls, job_id: str, values: Sequence[Any]) -> Self | None:
        """Read the values of `FIELDS`; `None` if there is no record."""
        status, progress, result, model, attempts, worker, queued, started, ended, cancel, deadline, webhooks = values
        if status is None:
            return None
        return cls(
            id=job_id,
            status=JobStatus(status),
            progress=Progress.parse(progress),
            result=JobResult.model_validate_json(result) if result else None,
            model=model,
            attempts=int(attempts or 0),
            worker=worker,
            queued_at=_moment(queued),
            started_at=_moment(started),
            ended_at=_moment(ended),
            cancel_requested=cancel is not None,
            deadline=_moment(deadline),
            webhooks=webhook_records.read(webhooks),
        )


@dataclass(frozen=True, slots=True)
class Preview:
    """A small picture of the first image of a running job, as far as it is."""

    media_type: str
    #: Pixels.
    width: int
    height: int
    #: The content of the file.
    data: bytes = field(repr=False)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON object of an event."""
        return cls(data["media_type"], data["width"], data["height"], base64.b64decode(data["data"]))


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A change of a job, as `events` yields it."""

    id: str
    status: JobStatus
    #: While the job runs, after its worker has reported a step.
    progress: Progress | None = None
    #: With the last event of a job.
    result: JobResult | None = None
    #: While the job runs, if it asked for previews and there is a new one.
    preview: Preview | None = None
    #: With the progress: seconds that the remaining steps should take; None after the first step.
    left_s: float | None = field(default=None, compare=False)


def _moment(seconds: str | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)
