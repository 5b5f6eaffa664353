"""Commands of jobs that must reach Redis, however long it is away."""

import itertools
import threading
from typing import Any, Final

import redis
import structlog
from redis.exceptions import OutOfMemoryError

from imagefleet.errors import reason_of
from imagefleet.store.scripts import Command
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.queue.backoff import backoff_s

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0


class RetryingRedis:
    """Executes commands of attempts; repeats them until Redis answers, or until the lease is lost."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def execute(self, command: Command, *, attempt: RunningAttempt) -> Any:
        """The reply to *command*, whenever it comes.

        A command may run twice if its first reply was lost; every command of a job's record allows for that. A cancel
        or a deadline does not interrupt the repetition, so that the end of the job is recorded.

        Raises:
            LeaseLost: If another worker may have the job in the meantime.
            redis.ResponseError: If Redis refuses the command for good.
        """
        for failures in itertools.count(1):
            try:
                return self._client.execute_command(*command)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                log.warning("waiting for redis", job_id=attempt.job_id, error=reason_of(error))
            except OutOfMemoryError as error:
                log.warning("waiting for memory in redis", job_id=attempt.job_id, error=reason_of(error))
            except redis.ResponseError as error:
                if not str(error).startswith("MISCONF"):
                    raise
                log.warning("redis refuses for now", job_id=attempt.job_id, error=reason_of(error))
            if attempt.is_lost:
                attempt.check()
            threading.Event().wait(backoff_s(failures, base_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S))
        raise AssertionError("the loop above has no end")
