"""The claimer: claims messages of some queues when the notifier reports one and the process can use one more."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
import structlog

from imagefleet.errors import reason_of
from imagefleet.store.keys import Keys
from imagefleet.store.redis_connections import NotPrimary
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.dispatcher import Deliver, Dispatcher, QueueNotServed
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.loop_waker import LoopWaker
from imagefleet_worker.queue.notifier import QueueNotifier

log = structlog.get_logger(__name__)

#: How often an idle worker looks if a tenant with enough running jobs may run another one.
_CAPPED_PAUSE_S = 0.25
#: The pause before the notifier is armed after a claim: the thread of the job runs first.
_ARMING_PAUSE_S = 0.001
#: The pause after Redis has refused a claim.
_REFUSED_PAUSE_S = 1.0


@dataclass
class ClaimerShared:
    """The parts that all claimers of this process share."""

    leases: Leases
    keys: Keys
    notifier_client: "redis.Redis"
    dispatcher: Dispatcher
    waker: LoopWaker
    #: Whether the process could use one more message now.
    can_use_one: Callable[[], bool]
    #: Celery's event loop, once it runs.
    loop: Any = None


class Claimer:
    """Claims from its queues, in the thread of Celery's loop."""

    def __init__(self, process: ClaimerShared, *, may_claim: Callable[[], bool], deliver: Deliver) -> None:
        """Ask *may_claim* and the process's `can_use_one` before each claim; pass messages to *deliver*."""
        self.queues: list[str] = []
        self._process = process
        self._may_claim = may_claim
        self._deliver = deliver
        self._notifier: QueueNotifier | None = None
        #: Queues that this process consumes and leaves to others.
        self._left: set[str] = set()
        #: False from a claim that found nothing to the next notification.
        self._may_have_message = False
        self._is_claiming = False

    def add(self, queue: str) -> None:
        """Claim from *queue* from now on."""
        self.queues.append(queue)
        self._watch_queues()

    def remove(self, queue: str) -> None:
        """Stop claiming from *queue*; nothing happens if it is not one of ours."""
        if queue in self.queues:
            self.queues.remove(queue)
            self._watch_queues()

    def close(self) -> None:
        """Stop claiming. The process keeps the messages that it holds."""
        self.queues.clear()
        self._watch_queues()

    def claim_all(self) -> None:
        """Claim and deliver until no message is left, or the process cannot use one more.

        Raises:
            redis.ConnectionError, redis.TimeoutError: if Redis cannot be reached.
        """
        if self._is_claiming:  # re-entrant: arming the notifier can call us back; the loop below carries on
            return
        self._is_claiming = True
        try:
            while self._served and self._may_have_message and self._may_claim() and self._process.can_use_one():
                self._may_have_message = False
                if self._claim_one():
                    self._may_have_message = True
        finally:
            self._is_claiming = False

    def _claim_one(self) -> bool:
        """Claim and deliver a message. Whether another may wait; if not, the notifier or a timer calls us."""
        leases, keys = self._process.leases, self._process.keys
        try:
            claimed = leases.claim(self._served)
            if claimed is not None:
                queue = next(each for each in self.queues if claimed.list_key in keys.lists(each))
                self._dispatch(claimed, queue)
        except (redis.ResponseError, NotPrimary) as error:  # a fail-over, or unable to save: that may pass
            log.warning("redis refuses claims; asking every second", error=reason_of(error))
            self._process.loop.call_later(_REFUSED_PAUSE_S, self._on_message)
            return False
        if leases.is_capped:  # the notifier would report these messages at once
            self._process.loop.call_later(_CAPPED_PAUSE_S, self._on_message)
            return False
        if claimed is not None and claimed.is_more:
            return True
        if claimed is None:
            self._arm(self._notifier, found_nothing=True)
        else:
            self._process.loop.call_later(_ARMING_PAUSE_S, self._arm, self._notifier)
            time.sleep(0)  # the job's thread waits for the interpreter, and the rest of this turn of the loop can wait
        return False

    def _arm(self, notifier: QueueNotifier | None, *, found_nothing: bool = False) -> None:
        """Let *notifier* report the next message, unless it has been replaced."""
        if notifier is not None and notifier is self._notifier:
            notifier.arm(found_nothing=found_nothing)

    @property
    def _served(self) -> list[str]:
        return [queue for queue in self.queues if queue not in self._left]

    def _dispatch(self, claimed: Claimed, queue: str) -> None:
        try:
            self._process.dispatcher.dispatch(claimed, queue, deliver=self._deliver)
        except QueueNotServed as reason:
            log.warning(
                "this worker leaves a queue to others; consume it with a worker of that model",
                queue=queue,
                reason=str(reason),
            )
            self._left.add(queue)
            self._watch_queues()

    def _watch_queues(self) -> None:
        """Watch the lists of our queues, and no others."""
        if self._notifier is not None:
            self._notifier.close()
            self._notifier = None
        self._may_have_message = True
        process = self._process
        keys = [each for name in self._served for each in (*process.keys.lists(name), *process.keys.lanes(name))]
        if keys:
            self._notifier = QueueNotifier(
                process.notifier_client, list_keys=keys, on_message=self._on_message, loop=process.loop
            )

    def _on_message(self) -> None:
        self._may_have_message = True
        self.claim_all()
