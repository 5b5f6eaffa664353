"""The snapshot: what a job's record says at one moment, and the event: what changed since."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Self

from imagefleet.results import JobResult, JobStatus

#: The fields that a snapshot is made of, in the order that `Snapshot.of` expects.
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
)


class Progress(NamedTuple):
    """How far a running job is, in denoising steps."""

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
    """A job as its record shows it."""

    id: str
    status: JobStatus
    #: Set while the job runs and its worker has reported a step.
    progress: Progress | None
    #: Set once the job has ended.
    result: JobResult | None
    model: str | None
    #: Runs begun so far.
    attempts: int
    #: The worker that has or had the job.
    worker: str | None
    #: All times by the clock of Redis.
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    #: Somebody asked to stop the job while it ran.
    cancel_requested: bool
    #: When nobody waits for the images any more; of a job that has not ended.
    deadline: datetime | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline of a job that no worker has begun is past, by this machine's clock."""
        return self.status is JobStatus.QUEUED and self.deadline is not None and self.deadline <= datetime.now(UTC)

    @classmethod
    def of(cls, job_id: str, values: Sequence[Any]) -> Self | None:
        """Read the reply to a read of `FIELDS`; `None` where there is no record."""
        status, progress, result, model, attempts, worker, queued, started, ended, cancel, deadline = values
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
        )


@dataclass(frozen=True, slots=True)
class Preview:
    """A small picture of what a running job has so far, of the first of its images."""

    media_type: str
    #: Pixels.
    width: int
    height: int
    #: The file.
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
    #: While the job runs: how far it is, once its worker has said so.
    progress: Progress | None = None
    #: With the last event of a job: how it ended.
    result: JobResult | None = None
    #: While the job runs, where it asked for previews: the newest, where there is a new one.
    preview: Preview | None = None
    #: With news of a step: how many seconds the steps that are left should take; None after the first.
    left_s: float | None = field(default=None, compare=False)


def _moment(seconds: str | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)
