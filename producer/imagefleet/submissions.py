"""Jobs on their way out: checked, given ids, encoded and packed into batches that Redis takes all or none of."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from imagefleet import messages, tracing
from imagefleet.announcements import tell
from imagefleet.errors import InvalidJob
from imagefleet.jobs import GenerationJob, as_mapping
from imagefleet.messages import Links
from imagefleet.queues import GENERATE_TASK, LEVELS, check_job_id, level_for, queue_for
from imagefleet.records import Submission
from imagefleet.results import JobStatus, JobUpdate
from imagefleet.settings import ClientSettings

#: A job as callers give it: the model, its fields, or just the prompt.
JobLike = GenerationJob | Mapping[str, Any] | str

#: Redis does nothing else while it takes a batch, so that a batch must be small.
BATCH_SIZE: Final = 500
_MOST_PROBLEMS: Final = 20
_POSITION: Final = {level: position for position, level in enumerate(LEVELS, start=1)}


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of one model that are queued all or none."""

    model: str
    jobs: Sequence[Submission]


def one(job: JobLike | None, fields: Mapping[str, Any]) -> JobLike:
    """The job that *job* (or nothing) and *fields* make together; *fields* win."""
    if job is None:
        return fields
    return {**_fields(job), **fields} if fields else job


def with_defaults(job: JobLike, fields: Mapping[str, Any]) -> JobLike:
    """The job that *job* and *fields* make together; its own fields win."""
    return {**fields, **_fields(job)} if fields else job


def grouped(jobs: Iterable[JobLike], group: str | None) -> Iterable[JobLike]:
    """*jobs*, those without a group of their own in *group*."""
    return jobs if group is None else ({"group": group, **_fields(job)} for job in jobs)


def check(jobs: Iterable[JobLike], *, settings: ClientSettings) -> list[GenerationJob]:
    """Validate *jobs*.

    Raises:
        InvalidJob: naming every bad field, and of several jobs also which one (counted from 0).
    """
    given = list(jobs)
    checked: list[GenerationJob] = []
    problems: list[str] = []
    for index, job in enumerate(given):
        try:
            checked.append(GenerationJob.parse(_fields(job), limits=settings.limits))
        except InvalidJob as error:
            problems.append(f"job {index}: {error.message}" if len(given) > 1 else error.message)
    if problems:
        raise InvalidJob(_listed(problems))
    return checked


def name(jobs: Sequence[GenerationJob], ids: Sequence[str] | None) -> list[str]:
    """The ids of *jobs*: those given, checked, or new ones.

    Raises:
        InvalidJob: for an id that cannot be one, or as many ids as there are not jobs.
    """
    if ids is None:
        return [str(uuid.uuid4()) for _ in jobs]
    if len(ids) != len(jobs):
        raise InvalidJob(f"ids: {len(ids)} given for {len(jobs)} jobs")
    return [check_job_id(job_id) for job_id in ids]


def pack(
    jobs: Sequence[GenerationJob], ids: Sequence[str], *, link: Links = None, link_error: Links = None
) -> Iterator[Batch]:
    """The batches that carry *jobs*, in their order within each model."""
    by_model: dict[str, list[Submission]] = {}
    for job, job_id in zip(jobs, ids, strict=True):
        by_model.setdefault(job.model, []).append(_submission(job, job_id, link=link, link_error=link_error))
    for model, submissions in by_model.items():
        for start in range(0, len(submissions), BATCH_SIZE):
            yield Batch(model, submissions[start : start + BATCH_SIZE])


def _submission(job: GenerationJob, job_id: str, *, link: Links, link_error: Links) -> Submission:
    wire = as_mapping(job)
    with tracing.span("imagefleet.submit", kind="PRODUCER", job_id=job_id, model=job.model):
        message = messages.encode(
            GENERATE_TASK,
            {"job": wire},
            message_id=job_id,
            queue=queue_for(job.model),
            link=link,
            link_error=link_error,
            tenant=job.tenant,
        )
    webhook = json.dumps(wire["webhook"]) if job.webhook else ""
    metadata = json.dumps(job.metadata) if job.metadata else ""
    return Submission(
        job_id,
        _POSITION[level_for(job.priority)],
        message,
        webhook,
        metadata,
        group=job.group or "",
        deadline=f"{job.deadline.timestamp():.3f}" if job.deadline else "",
        delivery=_delivery(job, job_id),
        tenant=job.tenant or "",
    )


def _delivery(job: GenerationJob, job_id: str) -> str:
    """The message that delivers `job.queued`; empty where nobody asked for it."""
    if job.webhook is None:
        return ""
    now = datetime.now(UTC)
    update = JobUpdate(id=job_id, status=JobStatus.QUEUED, model=job.model, at=now, metadata=job.metadata)
    return tell(update, webhook=job.webhook)


def _fields(job: JobLike) -> Mapping[str, Any]:
    return {"prompt": job} if isinstance(job, str) else as_mapping(job)


def _listed(problems: Sequence[str]) -> str:
    shown = "\n".join(problems[:_MOST_PROBLEMS])
    left = len(problems) - _MOST_PROBLEMS
    return f"{shown}\nand {left} more bad jobs" if left > 0 else shown
