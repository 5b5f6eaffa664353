"""Intake: hands a claimed message to Celery, or puts it away where it cannot be run; it is never lost in between."""

from collections.abc import Callable, Collection
from typing import Any

import redis
import structlog

from imagefleet_worker.claims import Claimed
from imagefleet_worker.envelopes import Malformed, open_envelope
from imagefleet_worker.leases import Leases

log = structlog.get_logger(__name__)

#: Called with a message as kombu expects it, and the name of its queue.
Deliver = Callable[[dict[str, Any], str], None]


class Intake:
    """What every message of this process passes, one at a time, in the thread of Celery's loop."""

    def __init__(
        self,
        leases: Leases,
        *,
        tasks: Callable[[], Collection[str]],
        on_malformed: Callable[[Claimed, Malformed], None],
    ) -> None:
        """Know the *tasks* of this process; *on_malformed* keeps what is no message for one of them."""
        self._leases = leases
        self._tasks = tasks
        self._on_malformed = on_malformed
        self._delivering = ""
        self._is_refused = False

    def take(self, claimed: Claimed, queue: str, *, deliver: Deliver) -> None:
        """Deliver the message of *claimed*, or put it away.

        Raises:
            redis.RedisError, OSError: where Redis was lost on the way; the message has been given back.
        """
        try:
            self._deliver(claimed, queue, deliver=deliver)
        except Malformed as problem:
            self._put_away(claimed, problem)
        except (redis.RedisError, OSError):
            self._leases.give_back(claimed.token)
            raise

    def note_refusal(self, token: str) -> bool:
        """Whether it is Celery that rejects *token* while it is delivered, and not a task: then it is put away."""
        if token != self._delivering:
            return False
        self._is_refused = True
        return True

    def _deliver(self, claimed: Claimed, queue: str, *, deliver: Deliver) -> None:
        envelope = open_envelope(claimed.message, token=claimed.token, queue=queue, tasks=self._tasks())
        message_id, task = envelope["headers"]["id"], envelope["headers"]["task"]
        self._leases.note_job(claimed.token, message_id)
        self._delivering, self._is_refused = claimed.token, False
        try:
            deliver(envelope, queue)
        except (redis.RedisError, OSError):
            raise
        except Exception as error:  # Celery ends at some messages that nobody foresaw
            raise Malformed(f"Celery cannot run it: {error!r}", message_id=message_id, task=task) from error
        finally:
            self._delivering = ""
        if self._is_refused:
            raise Malformed("Celery refuses it; its log says why", message_id=message_id, task=task)

    def _put_away(self, claimed: Claimed, problem: Malformed) -> None:
        log.warning("malformed message", reason=problem.reason, message_id=problem.message_id, task=problem.task)
        try:
            self._on_malformed(claimed, problem)
        except (redis.RedisError, OSError):
            self._leases.give_back(claimed.token)  # it is nowhere else yet
            raise
        self._leases.ack(claimed.token)
