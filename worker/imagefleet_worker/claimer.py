"""The claimer: claims what waits in some queues, whenever the doorbell has rung and the process can use one more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
import structlog

from imagefleet.queues import Keys
from imagefleet_worker.doorbell import Doorbell
from imagefleet_worker.intake import Deliver, Intake
from imagefleet_worker.leases import Leases

log = structlog.get_logger(__name__)

#: How often an idle worker looks whether a tenant that had its share may run another job.
_CAPPED_PAUSE_S = 0.25
#: How often a Redis that refuses claims is asked again.
_REFUSED_PAUSE_S = 1.0


@dataclass
class Process:
    """What the claimers of this process share."""

    leases: Leases
    keys: Keys
    bell_client: "redis.Redis"
    intake: Intake
    #: Celery's event loop, once there is one.
    loop: Any = None


class Claimer:
    """Claims from its queues, in the thread of Celery's loop."""

    def __init__(self, process: Process, *, may_claim: Callable[[], bool], deliver: Deliver) -> None:
        """Ask *may_claim* before each claim, besides the leases' own gate; what is claimed goes to *deliver*."""
        self.queues: list[str] = []
        self._process = process
        self._may_claim = may_claim
        self._deliver = deliver
        self._bell: Doorbell | None = None
        #: Whether a message may be there.
        self._has_rung = False
        self._is_claiming = False

    def add(self, queue: str) -> None:
        """Claim from *queue*, too."""
        self.queues.append(queue)
        self._hang_bell()

    def remove(self, queue: str) -> None:
        """Claim from *queue* no more; nothing where it is none of ours."""
        if queue in self.queues:
            self.queues.remove(queue)
            self._hang_bell()

    def close(self) -> None:
        """Claim no more; what is held stays held."""
        self.queues.clear()
        self._hang_bell()

    def claim_all(self) -> None:
        """Claim and deliver for as long as there are messages, and the process can use one.

        Raises:
            redis.ConnectionError, redis.TimeoutError: where Redis cannot be reached.
        """
        if self._is_claiming:  # a bell that rings as it is told to wait; the turns below go on
            return
        self._is_claiming = True
        try:
            while self.queues and self._has_rung and self._may_claim() and self._process.leases.gate():
                self._has_rung = False
                if self._claim_one():
                    self._has_rung = True
        finally:
            self._is_claiming = False

    def _claim_one(self) -> bool:
        """Claim and deliver a message. Whether another may be there; else the bell rings in time."""
        leases, keys = self._process.leases, self._process.keys
        try:
            claimed = leases.claim(self.queues)
            if claimed is not None:
                queue = next(each for each in self.queues if claimed.list_key in keys.lists(each))
                self._process.intake.take(claimed, queue, deliver=self._deliver)
        except redis.ResponseError as error:  # read-only, or it cannot save: that may pass
            log.warning("redis refuses claims; asking every second", error=str(error))
            self._process.loop.call_later(_REFUSED_PAUSE_S, self._ring)
            return False
        if leases.is_capped:  # the bell would ring at once
            self._process.loop.call_later(_CAPPED_PAUSE_S, self._ring)
            return False
        if claimed is not None and claimed.is_more:
            return True
        if self._bell is not None:
            self._bell.wait(in_vain=claimed is None)
        return False

    def _hang_bell(self) -> None:
        """Listen to the lists of the queues that are claimed from now, and to no others."""
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        self._has_rung = True
        process = self._process
        keys = [each for name in self.queues for each in (*process.keys.lists(name), *process.keys.lanes(name))]
        if keys:
            self._bell = Doorbell(process.bell_client, list_keys=keys, on_ring=self._ring, loop=process.loop)

    def _ring(self) -> None:
        self._has_rung = True
        self.claim_all()
