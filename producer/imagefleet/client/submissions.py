"""Prepares jobs for submission: checks them, assigns ids, encodes them and divides them into batches."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from imagefleet import tracing
from imagefleet.client.settings import ClientSettings
from imagefleet.contract import messages
from imagefleet.contract.fingerprints import fingerprint_of
from imagefleet.contract.jobs import GenerationJob, to_wire
from imagefleet.contract.messages import Links
from imagefleet.contract.queues import GENERATE_TASK, LEVELS, check_job_id, level_for, queue_for
from imagefleet.contract.results import JobStatus, JobUpdate
from imagefleet.errors import InvalidJob
from imagefleet.store.events import update_message
from imagefleet.store.records import Submission

#: A job as callers give it: the model, its fields, or just the prompt.
JobLike = GenerationJob | Mapping[str, Any] | str

#: Redis serves no other client while it takes a batch, so a batch must be small.
BATCH_SIZE: Final = 500
_MOST_PROBLEMS: Final = 20
#: Of `expires_in_s`.
_MOST_SECONDS: Final = 10 * 366 * 86_400
_POSITION: Final = {level: position for position, level in enumerate(LEVELS, start=1)}


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of one model; Redis queues all of them or none."""

    model: str
    jobs: Sequence[Submission]


def merged(job: JobLike | None, fields: Mapping[str, Any]) -> JobLike:
    """*job*, or no job, with *fields* added; *fields* win."""
    if job is None:
        return fields
    return {**_fields(job), **fields} if fields else job


def with_defaults(job: JobLike, fields: Mapping[str, Any]) -> JobLike:
    """*job* with *fields* added; its own fields win."""
    return {**fields, **_fields(job)} if fields else job


def with_group(jobs: Iterable[JobLike], group: str | None) -> Iterable[JobLike]:
    """*jobs* in *group*; a job with a group of its own keeps it."""
    return jobs if group is None else ({"group": group, **_fields(job)} for job in jobs)


def check(jobs: Iterable[JobLike], *, settings: ClientSettings, places: Sequence[str] = ()) -> list[GenerationJob]:
    """Validate *jobs*; *places* say where the user finds each.

    Raises:
        InvalidJob: naming every bad field and, if there are several jobs, the place or number (from 0) of its job.
    """
    given = list(jobs)
    checked: list[GenerationJob] = []
    problems: list[str] = []
    for index, job in enumerate(given):
        try:
            checked.append(GenerationJob.parse(_fields(job), limits=settings.limits))
        except InvalidJob as error:
            place = f"{places[index] if places else f'job {index}'}: "
            problems.append(f"{place}{error.message}" if places or len(given) > 1 else error.message)
    if problems:
        raise InvalidJob(_listed(problems))
    return checked


def assign_ids(jobs: Sequence[GenerationJob], ids: Sequence[str] | None) -> list[str]:
    """The ids of *jobs*: those given, checked, or new ones.

    Raises:
        InvalidJob: if an id has other characters than ids may have, or the numbers of ids and jobs differ.
    """
    if ids is None:
        return [str(uuid.uuid4()) for _ in jobs]
    if len(ids) != len(jobs):
        raise InvalidJob(f"ids: {len(ids)} given for {len(jobs)} jobs; give one for each, or none")
    return [check_job_id(job_id) for job_id in ids]


def batches(
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
    wire, fingerprint = to_wire(job), fingerprint_of(job)
    with tracing.span("imagefleet.submit", kind="PRODUCER", job_id=job_id, model=job.model):
        message = messages.encode(
            GENERATE_TASK,
            {"job": wire},
            message_id=job_id,
            queue=queue_for(job.model),
            link=link,
            link_error=link_error,
            tenant=job.tenant,
            fingerprint=fingerprint,
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
        fingerprint=fingerprint,
    )


def _delivery(job: GenerationJob, job_id: str) -> str:
    """The message that delivers `job.queued`; empty if the job has no webhook for it."""
    if job.webhook is None:
        return ""
    now = datetime.now(UTC)
    update = JobUpdate(id=job_id, status=JobStatus.QUEUED, model=job.model, at=now, metadata=job.metadata)
    return update_message(update, webhook=job.webhook)


def _fields(job: JobLike) -> Mapping[str, Any]:
    """The fields of *job*; `expires_in_s`, seconds from now, becomes its deadline."""
    fields: Any = {"prompt": job} if isinstance(job, str) else to_wire(job)
    if not isinstance(fields, Mapping):  # nobody checks the types of a program that a notebook runs
        raise InvalidJob(f"must be a GenerationJob, a mapping of its fields, or a prompt; it is {type(job).__name__}")
    if fields.get("expires_in_s") is None:
        return {name: value for name, value in fields.items() if name != "expires_in_s"}
    if fields.get("deadline") is not None:
        raise InvalidJob("deadline and expires_in_s both say when the job ends; give one of them")
    seconds = fields["expires_in_s"]
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= _MOST_SECONDS:
        raise InvalidJob(f"expires_in_s: must be a number of seconds above 0, at most ten years; it is {seconds!r}")
    rest = {name: value for name, value in fields.items() if name != "expires_in_s"}
    return {**rest, "deadline": datetime.now(UTC) + timedelta(seconds=seconds)}


def _listed(problems: Sequence[str]) -> str:
    shown = "\n".join(problems[:_MOST_PROBLEMS])
    left = len(problems) - _MOST_PROBLEMS
    return f"{shown}\nand {left} more bad jobs" if left > 0 else shown
