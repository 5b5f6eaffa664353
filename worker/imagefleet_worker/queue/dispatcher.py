"""The dispatcher: hands a claimed message to Celery, or dead-letters it if Celery cannot run it.

What Celery raises before it has made a request of a message is the message's fault. What it raises later is a fault of
this worker: the message goes back to its list, and a worker that fails so again and again leaves.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import redis
import structlog

from imagefleet.contract.queues import GENERATE_TASK, WEBHOOK_QUEUE
from imagefleet.errors import described
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.message_body import Loads
from imagefleet_worker.queue.message_check import MalformedMessage, OldProtocol, delivery_info, parse_message, refused

log = structlog.get_logger(__name__)

#: Takes a message in kombu's form, and the name of its queue.
Deliver = Callable[[dict[str, Any], str], None]

#: Faults of this worker in a row after which it leaves.
_MOST_FAULTS: Final = 3


class WorkerFault(Exception):  # named for what happened
    """This worker cannot run a message that is well formed."""


class QueueNotServed(Exception):  # named for what happened
    """This worker has not what the tasks of the queue need: it must leave the queue to others."""


class Dispatcher:
    """Dispatches all messages of this process, one at a time, in the thread of Celery's loop."""

    def __init__(
        self,
        leases: Leases,
        *,
        tasks: Callable[[], Mapping[str, Any]],
        loads: Loads,
        on_malformed: Callable[[Claimed, MalformedMessage], None],
        leave: Callable[[str], None],
        unserved: Collection[str] = (),
    ) -> None:
        """Accept messages for *tasks*, whose bodies Celery reads with *loads*.

        *on_malformed* dead-letters all others. *leave* ends this worker, with a sentence. Messages for the tasks in
        *unserved*, which this worker knows and cannot run, are given back.
        """
        self._leases = leases
        self._tasks = tasks
        self._loads = loads
        self._on_malformed = on_malformed
        self._leave = leave
        self._unserved = unserved
        #: Token of the message that Celery is receiving, or empty.
        self._delivering = ""
        self._is_rejected = False
        self._is_received = False
        #: Faults of this worker since it last delivered a message.
        self._faults = 0

    def dispatch(self, claimed: Claimed, queue: str, *, deliver: Deliver) -> None:
        """Deliver the message of *claimed*, or dead-letter it.

        Raises:
            redis.RedisError, OSError: if Redis cannot be reached; the message is given back.
            QueueNotServed: if other workers must run it; the message is given back.
        """
        try:
            self._deliver(claimed, queue, deliver=deliver)
        except MalformedMessage as problem:
            self._reject(claimed, problem)
        except OldProtocol as old:
            self._leases.give_back(claimed.token, message=old.rewritten)
        except (redis.RedisError, OSError, QueueNotServed):
            self._leases.give_back(claimed.token)
            raise
        except Exception as fault:  # noqa: BLE001  # a message that is held and forgotten would never end
            self._leases.give_back(claimed.token)
            self._count_fault(fault)

    def read(self, claimed: Claimed, queue: str) -> dict[str, Any] | None:
        """A message that somebody asked for and acknowledges himself, in kombu's form; None if it is put away."""
        try:
            envelope: Any = json.loads(claimed.message)
            properties = {**envelope["properties"], "delivery_tag": claimed.token}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._reject(claimed, MalformedMessage(f"not a message of kombu: {described(error)}"))
            return None
        headers = envelope.get("headers") or {}
        self._leases.note_job(claimed.token, str(headers.get("id") or claimed.token))
        self._leases.note_begun(claimed.token)
        delivery = {"delivery_info": delivery_info(headers, properties, queue=queue)}
        return {**envelope, "properties": {**properties, **delivery}}

    def rejected_while_dispatching(self, token: str) -> bool:
        """Whether Celery rejects *token* while it receives the message; then `dispatch` dead-letters it.

        A task that rejects its message does so later, and its message is acknowledged.
        """
        if token != self._delivering:
            return False
        self._is_rejected = True
        return True

    def received(self, token: str) -> None:
        """Celery has made a request of the message of *token*: from now on, an error is this worker's fault."""
        self._is_received = self._is_received or token == self._delivering

    def _deliver(self, claimed: Claimed, queue: str, *, deliver: Deliver) -> None:
        tasks = self._tasks()
        parsed = self._parse(claimed, queue, tasks=tasks)
        if not self._leases.note_job(claimed.token, parsed["headers"]["id"]):
            self._leases.give_back(claimed.token)
            return
        self._check_limits(claimed, parsed["headers"], task=tasks[parsed["headers"]["task"]])
        if parsed["headers"]["task"] in self._unserved:
            if queue == WEBHOOK_QUEUE:
                raise refused(claimed.message, "this queue takes deliveries; send a job to imagefleet.<model>")
            raise QueueNotServed("this worker has no model")
        self._delivering, self._is_rejected, self._is_received = claimed.token, False, False
        try:
            deliver(parsed, queue)
        except (redis.RedisError, OSError):
            raise
        except Exception as error:
            if self._is_received:
                raise WorkerFault(described(error)) from error
            raise refused(claimed.message, f"Celery cannot run it: {described(error)}", loads=self._loads) from error
        finally:
            self._delivering = ""
        if self._is_rejected:
            raise refused(claimed.message, "Celery refuses it; its log says why", loads=self._loads)
        self._faults = 0

    def _parse(self, claimed: Claimed, queue: str, *, tasks: Collection[str]) -> dict[str, Any]:
        try:
            return parse_message(claimed.message, token=claimed.token, queue=queue, tasks=tasks, loads=self._loads)
        except (MalformedMessage, OldProtocol):
            raise
        except Exception as error:  # the message's fault: nothing else was read
            raise MalformedMessage(f"it cannot be read: {described(error)}") from error

    def _check_limits(self, claimed: Claimed, headers: Mapping[str, Any], *, task: Any) -> None:
        """Refuse a message with a time limit for a task that could not be ended by it; jobs end by themselves."""
        limits = (*(headers.get("timelimit") or ()), task.time_limit, task.soft_time_limit)
        if headers["task"] != GENERATE_TASK and any(limits):
            reason = f"a time limit: no thread can be ended from outside, so only {GENERATE_TASK} keeps one; send none"
            raise refused(claimed.message, reason, loads=self._loads)

    def _count_fault(self, fault: Exception) -> None:
        self._faults += 1
        log.error("this worker cannot run what it claims; the message is back in its list", error=repr(fault))
        if self._faults >= _MOST_FAULTS:
            self._leave(f"this worker could not run {self._faults} messages in a row: {fault}")

    def _reject(self, claimed: Claimed, problem: MalformedMessage) -> None:
        log.warning("malformed message", reason=problem.reason, message_id=problem.message_id, task=problem.task)
        try:
            self._on_malformed(claimed, problem)
        except (redis.RedisError, OSError):
            self._leases.give_back(claimed.token)  # it is not among the dead letters
            raise
        self._leases.ack(claimed.token)
