"""The lease thread: renews the leases of this process, and does its share for the fleet.

It puts back messages of dead workers, and messages whose time has come.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import redis
import structlog

from imagefleet.errors import reason_of
from imagefleet.store.keys import Keys
from imagefleet_worker.queue import claims
from imagefleet_worker.queue.claim_listener import ClaimListener
from imagefleet_worker.queue.deferred_commands import DeferredCommands
from imagefleet_worker.queue.held_messages import HeldMessages
from imagefleet_worker.queue.redelivery import Redelivery

log = structlog.get_logger(__name__)

_TICK_S = 1.0
#: However many messages wait for a time, the thread turns no more often.
_SHORTEST_TICK_S = 0.25


class LeaseThread:
    """Renews the leases of *held* as *owner*; starts at the first claim."""

    def __init__(
        self,
        client: "redis.Redis",
        *,
        keys: Keys,
        owner: str,
        duration_s: float,
        held: HeldMessages,
        backlog: DeferredCommands,
        redelivery: Redelivery,
        listener: ClaimListener,
        wake: Callable[[], None],
    ) -> None:
        """Tell *listener* of cancels, send *backlog* when Redis answers, call *wake* for messages put back."""
        #: Leases that were lost.
        self.lost = 0
        self._client = client
        self._keys = keys
        self._owner = owner
        self._duration_s = duration_s
        self._held = held
        self._backlog = backlog
        self._redelivery = redelivery
        self._listener = listener
        self._wake = wake
        self._renewed_at = time.monotonic()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop renewing."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while not self._closed.wait(self._pause_s()):
            for step in (self._renew, self._backlog.catch_up, self._serve_fleet):
                self._try(step)

    def _pause_s(self) -> float:
        """Seconds until the next turn: a message that waits for a time is put into its list soon after it."""
        due_in_s = self._redelivery.next_due_in_s
        tick_s = min(_TICK_S, self._duration_s / 4)
        return tick_s if due_in_s is None else min(tick_s, max(due_in_s, _SHORTEST_TICK_S))

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except redis.RedisError as error:
            log.warning("leases wait for redis", error=reason_of(error))
            self._redelivery.hold_off()
        except Exception:  # one message or hook must not end the renewal of all leases
            log.exception("a step of the leases failed")

    def _serve_fleet(self) -> None:
        for step in (self._redelivery.promote, self._redelivery.redeliver):
            if step():
                self._wake()

    def _renew(self) -> None:
        jobs = self._held.live_jobs()
        if not jobs or time.monotonic() - self._renewed_at < self._duration_s / 4:
            return
        reply: Any = self._client.execute_command(
            *claims.renew(self._keys, owner=self._owner, duration_s=self._duration_s, jobs_by_token=jobs)
        )
        lost, canceled = reply
        self._renewed_at = time.monotonic()
        for token in lost:
            if self._held.lose(token):
                log.warning("lease lost", job_id=jobs[token])
                self.lost += 1
        for job_id in canceled:
            self._listener.cancel(job_id)
