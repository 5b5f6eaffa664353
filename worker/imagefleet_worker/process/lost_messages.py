"""Lost messages: those that Celery took, and that no thread runs, because of an error that nobody has seen."""

from collections.abc import Collection
from typing import Final

import structlog

from imagefleet.errors import described
from imagefleet_worker.errors import WorkerError
from imagefleet_worker.process.refusals import Refusals
from imagefleet_worker.queue.leases import Leases

log = structlog.get_logger(__name__)

_FAILED: Final = "Celery failed before it ran the task: {}; read the worker's log, correct what sent it, and replay it"


class LostMessages:
    """Finds and ends the lost messages of one worker."""

    def __init__(self, leases: Leases, refusals: Refusals, *, after_s: float) -> None:
        """A message is lost if it has not begun *after_s* seconds, although a thread is free."""
        self._leases = leases
        self._refusals = refusals
        self._after_s = after_s

    def end_lost(self, *, waiting: Collection[str], threads: int) -> None:
        """End the lost messages; those in *waiting* may wait, because their tasks have a rate limit.

        Raises:
            redis.RedisError: If Redis cannot be reached; the next call ends them.
        """
        if self._leases.begun() >= threads:
            return
        for token in self._leases.not_begun(for_s=self._after_s):
            if token not in waiting:
                log.error("celery has lost a message", token=token)
                sentence = (
                    f"Celery took the message and did not run it within {self._after_s:g} s; "
                    "read the worker's log, and replay it"
                )
                self._refusals.put_away(token, WorkerError.code, sentence)

    def end_failed(self, token: str, error: BaseException) -> None:
        """End the message of *token* if Celery failed with *error* before it ran the task."""
        if token in self._leases.not_begun(for_s=0):
            self._refusals.put_away(token, WorkerError.code, _FAILED.format(described(error)))
