"""Revocation: Celery's `revoke` means the same as a cancel by the client.

Celery keeps what was revoked in the memory of each worker, and ends what runs by a signal, which no thread can be sent.
Here a revoked job's record is canceled at once, whoever lives: queued, it ends; running, its worker stops it within a
step. `terminate=True` makes no difference, because no process has to be killed for it. Of a message that has no record
yet, Celery's memory is all there is; it ends when a worker that heard of it claims it.

`_announce_revoked` and `_context` are names that Celery does not promise; it is pinned to one series.
"""

from collections.abc import Iterable
from typing import Any

import redis
import structlog
from celery.worker import control as celery_control
from celery.worker.request import Request

from imagefleet.queues import Keys
from imagefleet_worker import control, lifecycle
from imagefleet_worker.connections import connect
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)


class JobRequest(Request):
    """A job's message as Celery's worker handles it."""

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Nothing that Celery could do: what runs is told by the record, and threads cannot be killed."""

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:  # noqa: FBT001  # Celery's signature
        # Before the message is acknowledged: then nobody would know of it.
        lifecycle.refuse(self._context, expired=expired)  # type: ignore[attr-defined]  # not in its stubs
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]  # not in its stubs


class Revocation:
    """Answers `revoke` and `terminate` in place of Celery's own commands."""

    def __init__(self, client: "redis.Redis", *, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._commands: dict[str, Any] = celery_control.Panel.data
        self._celerys_own = self._commands["revoke"]

    @classmethod
    def install(cls, settings: Settings) -> None:
        """Answer from now on."""
        own = cls(connect(settings.redis), keys=Keys(settings.redis.key_prefix))
        own._commands.update(revoke=own.revoke, terminate=own.terminate)

    def revoke(self, state: Any, task_id: Any, **kwargs: Any) -> Any:
        """Cancel what has a record; of the rest, let Celery remember the ids."""
        ids = [str(each) for each in task_id] if _is_list(task_id) else [str(task_id)]
        try:
            control.cancel(self._client, keys=self._keys, job_ids=ids)
        except redis.RedisError as error:
            log.warning("not canceled: redis does not answer", error=str(error))
        return self._celerys_own(state, ids, **kwargs)

    def terminate(self, state: Any, signal: Any, task_id: Any, **kwargs: Any) -> Any:
        """The same, by its other name."""
        return self.revoke(state, task_id, signal=signal, **kwargs)


def _is_list(ids: object) -> bool:
    return isinstance(ids, Iterable) and not isinstance(ids, str)
