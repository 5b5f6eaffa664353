"""The watched image maker: notices when jobs fail in a row, and ends a worker that is the reason.

A job whose failure may be this worker's fault is tried once more, elsewhere, if there are other workers of its model.
If jobs fail in a row at all of them, the jobs or what all workers share are at fault, and tests are rare.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

import structlog

from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.results import JobResult
from imagefleet.errors import ImageFleetError
from imagefleet_worker.errors import (
    GenerationFailed,
    ImageNotFinite,
    OutOfMemory,
    StorageRefused,
    WorkerError,
)
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.jobs.image_maker import ImageMaker
from imagefleet_worker.jobs.others import Others
from imagefleet_worker.jobs.progress import AttemptProgress
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.jobs.self_test import Sickness

log = structlog.get_logger(__name__)

#: Failures that may be the worker's fault as well as the job's.
_SUSPECT: Final = (GenerationFailed, ImageNotFinite, StorageRefused)
#: Seconds between two tests while jobs fail at every other worker, too.
_SHARED_EVERY_S: Final = 60.0


class _OneMoreTry(WorkerError):
    """A failure, under its own code, after which the job is tried once more."""

    retryable = True

    def __init__(self, cause: ImageFleetError) -> None:
        super().__init__(cause.message)
        self.code = cause.code  # type: ignore[misc]  # if there is no time for a retry, this is the job's error


class WatchedImageMaker:
    """Makes images as `ImageMaker` does; safe to use from many threads."""

    def __init__(
        self,
        image_maker: ImageMaker,
        *,
        self_test: Callable[[], Sickness | None],
        most_failures: int,
        compare: Callable[[], Others],
        hold: Callable[[bool], None],
        leave: Callable[[str, ExitCode], NoReturn],
    ) -> None:
        """Watch over *image_maker*.

        Args:
            image_maker: Makes the images.
            self_test: Says what is wrong with this worker.
            most_failures: Failures in a row after which it is called; 0: never.
            compare: How it goes at the other workers; called only if jobs fail.
            hold: Called with True before a self-test and with False after it; meanwhile nothing may be claimed.
            leave: Gives back what this worker holds and ends it.
        """
        self._image_maker = image_maker
        self._self_test = self_test
        self._most_failures = most_failures
        self._compare = compare
        self._hold = hold
        self._leave = leave
        #: Failures since the last success, and since the last test that has passed.
        self._in_a_row = self._failures = 0
        self._counting = threading.Lock()
        self._testing = threading.Lock()
        self._passed_at = 0.0
        self._tested_at = -_SHARED_EVERY_S

    def failures_in_a_row(self) -> int:
        """How many jobs have failed since the last one that succeeded."""
        return self._in_a_row

    def generate(self, job: GenerationJob, attempt: RunningAttempt, *, progress: AttemptProgress) -> JobResult:
        """As `ImageMaker.generate`.

        Raises:
            WorkerError: As there; retryable at the first attempt if another worker may succeed.
        """
        try:
            result = self._image_maker.generate(job, attempt, progress=progress)
        except _SUSPECT as error:
            self._note_failure(attempt)
            if attempt.number <= 1 and any(self._compare()):
                raise _OneMoreTry(error) from error
            raise
        except OutOfMemory:
            self._note_failure(attempt)
            raise
        except ImageFleetError:  # the job's own end, or a retry that is nobody's fault
            raise
        except Exception:
            self._note_failure(attempt)
            raise
        with self._counting:
            self._in_a_row = self._failures = 0
        return result

    def _note_failure(self, attempt: RunningAttempt) -> None:
        """Count a failure, and test this worker after too many in a row; does not return if the worker is sick."""
        failed_at = time.monotonic()
        with self._counting:
            self._in_a_row += 1
            self._failures += 1
            is_due = 0 < self._most_failures <= self._failures
        if not is_due:
            return
        with self._testing:
            if self._passed_at >= failed_at:  # another thread has tested in the meantime
                return
            others = self._compare()
            if others.all_fail and time.monotonic() - self._tested_at < _SHARED_EVERY_S:
                log.warning("jobs fail in a row here and at every other worker", job_id=attempt.job_id)
                return
            self._test(attempt, others)

    def _test(self, attempt: RunningAttempt, others: Others) -> None:
        log.warning(
            "jobs fail in a row: this worker claims none and tests itself", job_id=attempt.job_id, others=str(others)
        )
        self._tested_at = time.monotonic()
        self._hold(True)  # noqa: FBT003  # a callback of one value
        try:
            sickness: Any = self._self_test()
        finally:
            self._hold(False)  # noqa: FBT003  # as above
        if sickness:
            self._leave(f"{sickness.sentence}; {others}", sickness.code)
        log.info("the self-test has passed: the jobs were at fault")
        with self._counting:
            self._failures, self._passed_at = 0, time.monotonic()
