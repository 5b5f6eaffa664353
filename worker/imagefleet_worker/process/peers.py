"""Peers: the other workers of the same model, and whether jobs fail at them as well, by the registry of workers."""

from typing import Final

import redis
import structlog

from imagefleet.errors import reason_of
from imagefleet.store import worker_registry
from imagefleet.store.keys import Keys
from imagefleet.store.worker_registry import WorkerState
from imagefleet_worker.jobs.others import Others

log = structlog.get_logger(__name__)

_SERVING: Final = frozenset({WorkerState.READY, WorkerState.BUSY})


class Peers:
    """The other workers of one model."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, model: str, owner: str, most_failures: int) -> None:
        """Those of *model* in the registry, without the process *owner*; *most_failures* in a row are too many."""
        self._client = client
        self._keys = keys
        self._model = model
        self._owner = owner
        self._most_failures = most_failures

    def compare(self) -> Others:
        """How it goes at those that take jobs; as if there were none, if Redis does not say."""
        try:
            _, workers = worker_registry.parse(self._client.execute_command(*worker_registry.read(self._keys)))
        except redis.RedisError as error:
            log.debug("the registry cannot be read", error=reason_of(error))
            return Others()
        others = [w for w in workers if w.model == self._model and w.state in _SERVING and w.id != self._owner]
        failing = sum(0 < self._most_failures <= worker.failures for worker in others)
        return Others(well=len(others) - failing, failing=failing)
