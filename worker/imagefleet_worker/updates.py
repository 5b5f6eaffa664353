"""Updates: the webhooks of one attempt before its end, for jobs that asked for them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from imagefleet.announcements import tell
from imagefleet.jobs import GenerationJob
from imagefleet.results import JobStatus, JobUpdate, StepsDone

#: Where so many deliveries wait already, news of a step would be stale when it came: they are dropped.
MOST_WAITING: Final = 1000


class Updates:
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
        self._webhook = job.webhook
        self._interval_s = interval_s
        self._clock = clock
        self._next_at = clock() + interval_s
        self._base = JobUpdate(
            id=job_id,
            status=JobStatus.RUNNING,
            attempts=attempts,
            worker=worker,
            model=job.model,
            at=datetime.fromtimestamp(clock(), UTC),
            metadata=job.metadata,
        )

    def running(self) -> str:
        """The message that delivers `job.running`; empty where nobody asked for it."""
        return tell(self._base, webhook=self._webhook)

    def progress(self, done: int, total: int) -> str:
        """The message that delivers `job.progress`; empty where nobody asked for it, or the last was not long ago.

        It is dropped where it is not delivered before the next would be due.
        """
        now = self._clock()
        if self._webhook is None or now < self._next_at:
            return ""
        self._next_at = now + self._interval_s
        steps = StepsDone(done=done, total=total)
        update = self._base.model_copy(update={"progress": steps, "at": datetime.fromtimestamp(now, UTC)})
        return tell(update, webhook=self._webhook, expires_at=self._next_at)
