"""Revoke: Celery's `revoke` does what a cancel by the client does.

Celery keeps revoked ids in the memory of each worker, and ends a running task by a signal, which does not work with
threads. Here the record of a revoked job is canceled at once, whichever workers live. A queued job ends, and a running
one is stopped by its worker within a step. `terminate=True` makes no difference, because no process must be killed. A
message without a record is known to Celery's memory alone; its job ends when a worker that heard of it claims it.

`_announce_revoked` and `_context` are names that Celery does not promise, so it is pinned to one series.
"""

from collections.abc import Iterable
from typing import Any, Final

import redis
import structlog
from celery.worker import control as celery_control
from celery.worker.request import Request

from imagefleet.errors import reason_of
from imagefleet.store.keys import Keys
from imagefleet_worker.process.current import current
from imagefleet_worker.queue import cancellation
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)

_NOT_ENDED: Final = (
    "the ids are revoked, but a task that is no job of ours runs in a thread, which cannot be ended: it goes on"
)


class JobRequest(Request):
    """A job's message as Celery's worker handles it."""

    def terminate(self, pool: Any, signal: Any = None) -> None:  # noqa: ARG002  # Celery's signature
        """Stop the job at its next step: threads cannot be killed. If it has a record, that stops it, too."""
        current().attempts.cancel(str(self.id))

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:  # noqa: FBT001  # Celery's signature
        # The end is recorded before the message is acknowledged; after that nobody would know of the job.
        context: Any = self._context  # type: ignore[attr-defined]  # not in its stubs
        token, kwargs = _token_of(context), context.kwargs or {}
        current().refusals.dropped(str(context.id), kwargs, token=token, expired=expired)
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]  # not in its stubs


_EXPIRED = "the message of this delivery had expired; `imagefleet webhooks replay` sends the event"
_REVOKED = "the delivery was revoked before it ran; `imagefleet webhooks replay` sends the event"


class DeliveryRequest(Request):
    """The message of a delivery of a webhook as Celery's worker handles it."""

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:  # noqa: FBT001  # Celery's signature
        # Celery would drop it without a word, because nobody waits for its result.
        code, sentence = ("expired", _EXPIRED) if expired else ("canceled", _REVOKED)
        current().refusals.put_away(_token_of(self._context), code, sentence)  # type: ignore[attr-defined]  # not in its stubs
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]  # not in its stubs


def _token_of(context: Any) -> str:
    return str((getattr(context, "properties", None) or {}).get("delivery_tag", ""))


def install_revoke(settings: Settings) -> None:
    """Answer `revoke` and `terminate` in place of Celery's own commands."""
    commands: dict[str, Any] = celery_control.Panel.data
    keys = Keys(settings.redis.key_prefix)
    own = RevokeCommands(connect(settings.redis), keys=keys, remember=commands["revoke"])
    commands.update(revoke=own.revoke, terminate=own.terminate)


class RevokeCommands:
    """The remote control commands of one worker."""

    def __init__(self, client: "redis.Redis", *, keys: Keys, remember: Any) -> None:
        """Cancel through *client*; *remember* is Celery's own command."""
        self._client = client
        self._keys = keys
        self._remember = remember

    def revoke(self, state: Any, task_id: Any, **kwargs: Any) -> Any:
        """Cancel the jobs that have a record, and let Celery remember the ids, for those that have none."""
        ids = [str(each) for each in task_id] if _is_list(task_id) else [str(task_id)]
        try:
            cancellation.cancel(self._client, keys=self._keys, job_ids=ids)
        except redis.RedisError as error:
            log.warning("not canceled: redis does not answer", error=reason_of(error))
        try:
            return self._remember(state, ids, **kwargs)
        except NotImplementedError:
            return {"error": _NOT_ENDED}

    def terminate(self, state: Any, signal: Any, task_id: Any, **kwargs: Any) -> Any:
        """As `revoke`."""
        return self.revoke(state, task_id, terminate=True, signal=signal, **kwargs)


def _is_list(ids: object) -> bool:
    return isinstance(ids, Iterable) and not isinstance(ids, str)
