"""Storage retries: repeats what S3 could not do now, for as long as a job may wait for it."""

import itertools
import time
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from imagefleet_worker.errors import StorageUnavailable
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.queue.backoff import backoff_s
from imagefleet_worker.settings import WorkerSettings

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: S3 may be back at any time, and its answer to a try costs little.
_LONGEST_PAUSE_S: Final = 15.0


class StorageRetries:
    """Repeats calls of attempts; safe to use from many threads."""

    def __init__(self, settings: WorkerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Repeat for `retry_for_s` by the *clock*, with pauses that begin at `retry_base_s`."""
        self._for_s = settings.retry_for_s
        self._base_s = settings.retry_base_s
        self._clock = clock

    def repeat(self, call: Callable[[], T], error: StorageUnavailable, *, attempt: RunningAttempt) -> T:
        """The result of *call*, which has just failed with *error* in *attempt*.

        Raises:
            LeaseLost, JobCanceled, JobExpired: If the attempt is over while it waits.
            StorageUnavailable: If S3 was away all the time.
        """
        give_up_at = self._clock() + self._for_s
        for failures in itertools.count(1):
            left_s = give_up_at - self._clock()
            if left_s <= 0:
                raise error
            pause_s = min(backoff_s(failures, base_s=self._base_s, longest_s=_LONGEST_PAUSE_S), left_s)
            log.warning("waiting for S3", job_id=attempt.job_id, reason=error.message, pause_s=round(pause_s, 1))
            attempt.wait(pause_s)
            attempt.check()
            try:
                return call()
            except StorageUnavailable as again:
                error = again
        raise AssertionError("the loop above has no end")
