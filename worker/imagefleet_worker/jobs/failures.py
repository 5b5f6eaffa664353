"""Failures: the result of a job that ended without images."""

from datetime import UTC, datetime
from typing import Final

from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.results import FinalStatus, JobError, JobResult, JobStatus
from imagefleet.errors import ImageFleetError
from imagefleet_worker.errors import JobCanceled, JobExpired, WorkerError
from imagefleet_worker.jobs.message import Message

_STATUS_OF: Final[dict[str, FinalStatus]] = {
    JobCanceled.code: JobStatus.CANCELED,
    JobExpired.code: JobStatus.EXPIRED,
}


def failed_result(
    message: Message,
    error: ImageFleetError,
    *,
    job: GenerationJob | None = None,
    attempt: int = 0,
    worker: str | None = None,
) -> JobResult:
    """The result of the job of *message*, ended by *error*.

    Args:
        message: The claimed message.
        error: Its code decides whether the job failed, expired or was canceled.
        job: The job; None if it is invalid.
        attempt: The number of the attempt; 0 if none began.
        worker: Who ran the attempt.
    """
    retryable = isinstance(error, WorkerError) and error.retryable
    return JobResult(
        id=message.job_id,
        status=_STATUS_OF.get(error.code, JobStatus.FAILED),
        error=JobError(code=error.code, message=error.message, retryable=retryable),
        warnings=error.warnings if isinstance(error, WorkerError) else (),
        attempts=attempt or message.redeliveries,
        worker=worker,
        model=job.model if job else None,
        finished_at=datetime.now(UTC),
        metadata=job.metadata if job else {},
    )
