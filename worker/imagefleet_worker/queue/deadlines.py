"""Deadlines: ends queued jobs whose deadlines have passed."""

import threading
from typing import Any, Final

import redis
import structlog

from imagefleet.errors import reason_of
from imagefleet.store import endings
from imagefleet.store.keys import Keys

log = structlog.get_logger(__name__)

_EVERY_S: Final = 2.0
_AT_ONCE: Final = 100


class DeadlineLoop:
    """A thread of a worker that ends queued jobs of all queues whose deadlines have passed.

    Every worker has one. If two workers end a job at once, one end is recorded. The worker of a running job ends it.
    """

    def __init__(self, client: "redis.Redis", *, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._stopped = threading.Event()

    def start(self) -> None:
        """Look every two seconds, in a thread of its own."""
        threading.Thread(target=self._run, name="deadlines", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                is_more = self.expire() == _AT_ONCE
            except redis.RedisError as error:
                log.debug("deadlines wait for redis", error=reason_of(error))
                is_more = False
            except Exception:  # one job that cannot be ended must not keep the others waiting
                log.exception("cannot end jobs whose deadlines have passed")
                is_more = False
            if not is_more:
                self._stopped.wait(_EVERY_S)

    def expire(self) -> int:
        """End at most a hundred overdue jobs, and return the number of jobs that were looked at.

        Raises:
            redis.RedisError: if Redis cannot be reached.
        """
        ids: Any = self._client.execute_command(*endings.overdue(self._keys, count=_AT_ONCE))
        for job_id in ids:
            known: Any = self._client.execute_command(*endings.read(self._keys, job_id))
            self._client.execute_command(*endings.expire(self._keys, job_id, known))
        return len(ids)
