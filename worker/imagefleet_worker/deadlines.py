"""Deadlines: ends the jobs that wait until nobody waits for them any more."""

import threading
from typing import Any, Final

import redis
import structlog

from imagefleet import endings, expiry
from imagefleet.queues import Keys

log = structlog.get_logger(__name__)

_EVERY_S: Final = 2.0
_AT_ONCE: Final = 100


class Deadlines:
    """A thread of a worker that ends queued jobs past their deadlines, of whatever queue.

    All workers do the same; of two that end a job at once, one is recorded. Running jobs are ended by their workers.
    """

    def __init__(self, client: "redis.Redis", *, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        threading.Thread(target=self._run, name="deadlines", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            try:
                is_more = self.expire() == _AT_ONCE
            except redis.RedisError as error:
                log.debug("deadlines wait for redis", error=str(error))
                is_more = False
            except Exception:  # one job that cannot be ended must not keep all others
                log.exception("deadlines could not be looked at")
                is_more = False
            if not is_more:
                pause.wait(_EVERY_S)

    def expire(self) -> int:
        """End what is overdue, a hundred jobs at most, and return how many were looked at.

        Raises:
            redis.RedisError: where Redis cannot be reached.
        """
        ids: Any = self._client.execute_command(*expiry.overdue(self._keys, count=_AT_ONCE))
        for job_id in ids:
            known: Any = self._client.execute_command(*endings.read(self._keys, job_id))
            self._client.execute_command(*endings.expire(self._keys, job_id, known))
        return len(ids)
