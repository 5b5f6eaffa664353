"""Progress webhooks: what one attempt sends to a job's webhook before the job ends, if the job asks for it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.results import JobStatus, JobUpdate, StepsDone
from imagefleet.store.events import update_message

#: If this many deliveries wait already, a step's delivery is dropped: it would arrive too late to be of use.
MOST_WAITING: Final = 1000


class UpdateWebhooks:
    """Makes the deliveries of `job.running` and `job.progress`."""

    def __init__(
        self,
        job_id: str,
        job: GenerationJob,
        *,
        attempts: int,
        worker: str,
        interval_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._job_id = job_id
        self._job = job
        self._attempts = attempts
        self._worker = worker
        self._interval_s = interval_s
        self._clock = clock
        self._next_at = clock() + interval_s

    def running(self) -> str:
        """The message that delivers `job.running`; empty if the job does not ask for it."""
        if self._job.webhook is None:
            return ""
        return update_message(self._update(self._clock()), webhook=self._job.webhook)

    def progress(self, done: int, total: int) -> str:
        """The message that delivers `job.progress`; empty if the job does not ask for it, or if the last was recent.

        The delivery expires when the next one would be due.
        """
        now = self._clock()
        if self._job.webhook is None or now < self._next_at:
            return ""
        self._next_at = now + self._interval_s
        steps = StepsDone(done=done, total=total)
        update = self._update(now, progress=steps)
        return update_message(update, webhook=self._job.webhook, expires_at=self._next_at)

    def _update(self, now: float, *, progress: StepsDone | None = None) -> JobUpdate:
        return JobUpdate(
            id=self._job_id,
            status=JobStatus.RUNNING,
            progress=progress,
            attempts=self._attempts,
            worker=self._worker,
            model=self._job.model,
            at=datetime.fromtimestamp(now, UTC),
            metadata=self._job.metadata,
        )
