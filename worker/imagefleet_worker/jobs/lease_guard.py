"""The lease guard: asks before each write to S3 whether the attempt still holds its lease."""

import time
from collections.abc import Callable
from typing import Any

from imagefleet.store.keys import Keys
from imagefleet_worker.jobs.retrying_redis import RetryingRedis
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.queue import claims


class LeaseGuard:
    """Keeps attempts from writing under a lease that may have run out, for example while the process was stopped.

    The thread that renews leases was stopped as well, and may not have noticed yet; only the clock tells.
    """

    def __init__(
        self,
        redis: RetryingRedis,
        *,
        keys: Keys,
        duration_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Leases last *duration_s*; *clock* is that of `RunningAttempt.confirmed_at`."""
        self._redis = redis
        self._keys = keys
        self._duration_s = duration_s
        self._clock = clock

    def check(self, attempt: RunningAttempt) -> None:
        """Return if *attempt* may write now.

        A lease that was last confirmed half its duration ago is renewed first, so that the write fits into the rest.
        While Redis does not answer, this waits.

        Raises:
            LeaseLost, JobCanceled, JobExpired: As `RunningAttempt.check`.
        """
        attempt.check()
        asked_at, claim = self._clock(), attempt.claim
        if not claim.token or asked_at - attempt.confirmed_at < self._duration_s / 2:
            return
        jobs = {claim.token: attempt.job_id}
        command = claims.renew(self._keys, owner=claim.owner, duration_s=self._duration_s, jobs_by_token=jobs)
        reply: Any = self._redis.execute(command, attempt=attempt)
        lost, canceled = reply
        if lost:
            attempt.mark_lost()
        if canceled:
            attempt.cancel()
        attempt.confirmed_at = asked_at
        attempt.check()
