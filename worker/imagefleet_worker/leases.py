"""Leases: the messages that this process holds, kept for as long as it lives and no longer.

A thread with a connection of its own renews them, so that a job may take any time and a dead worker's jobs still go to
others within one lease. It also does that for the fleet: whoever is alive redelivers what the dead have left, and moves
messages that are due to their lists.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
import structlog

from imagefleet.queues import Keys
from imagefleet.records import Claim
from imagefleet_worker import claims
from imagefleet_worker.claims import Begun, Claimed
from imagefleet_worker.patience import Backlog
from imagefleet_worker.redelivery import Redelivery

log = structlog.get_logger(__name__)

_TICK_S = 1.0


@dataclass(slots=True)
class _Held:
    """A message that is this process's, as far as it knows."""

    #: Empty until it is known that it has been claimed, and again when its claim is about to end.
    job_id: str = ""
    begun: Begun | None = None


class Leases:
    """All claims of this process; safe to use from many threads."""

    def __init__(
        self,
        client: "redis.Redis",
        *,
        keys: Keys,
        duration_s: float,
        ended_ttl_s: int = claims.DEFAULT_ENDED_TTL_S,
        tenant_jobs: int = 0,
    ) -> None:
        self.owner = uuid.uuid4().hex
        #: Whether a message could be used now; asked before each claim.
        self.gate: Callable[[], bool] = lambda: True
        #: Called with the token of a claim that is another process's by now.
        self.on_lost: Callable[[str], None] = lambda _token: None
        #: Called with the id of a held job that somebody canceled.
        self.on_cancel: Callable[[str], None] = lambda _job_id: None
        #: Wakes the loop that claims; set by the transport.
        self.wake: Callable[[], None] = lambda: None
        #: Whether the last claim left messages of tenants that have as many running jobs as they may.
        self.is_capped = False
        self.lost = 0
        self.is_claiming = True
        #: The name under which jobs begin as they are claimed; where it is empty, they begin later.
        self.worker = ""
        self._client = client
        self._keys = keys
        self._duration_s = duration_s
        self._ended_ttl_s = ended_ttl_s
        self._tenant_jobs = tenant_jobs
        self._lock = threading.RLock()  # a signal's handler may hand back while this thread is inside
        self._held: dict[str, _Held] = {}
        self._was_full = False
        self.redelivery = Redelivery(client, keys=keys, owner=self.owner, duration_s=duration_s)
        self._backlog = Backlog(client)
        self._renewed_at = time.monotonic()
        self._pending = ""
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, queues: list[str]) -> Claimed | None:
        """Take the next message of *queues*, or None where there is none.

        Raises:
            redis.RedisError: where Redis cannot be reached.
        """
        self._start()
        while True:
            token = self._pending or uuid.uuid4().hex
            with self._lock:  # held before it is claimed: the reply may be lost, the claim is not
                self._held[token] = held = _Held()
            command = claims.claim(
                self._keys,
                queues=queues,
                token=token,
                owner=self.owner,
                duration_s=self._duration_s,
                ended_ttl_s=self._ended_ttl_s,
                tenant_jobs=self._tenant_jobs,
                worker=self.worker,
            )
            try:
                found: Any = self._client.execute_command(*command)
            except redis.RedisError:
                self._forget(token)
                self._pending = token  # it may have been claimed, and only the reply be lost
                raise
            self._pending = ""
            self.is_capped = bool(found) and not found[0] and not found[2]
            if found and found[0]:
                claimed = claims.read(token, found)
                held.begun = claimed.begun
                return claimed
            self._forget(token)
            if not found or self.is_capped:
                return None

    def note_job(self, token: str, job_id: str) -> None:
        """Say whose message *token* is, so that a cancel of the job is noticed at the next renewal."""
        with self._lock:
            if held := self._held.get(token):
                held.job_id = job_id

    def begun(self, token: str) -> Begun | None:
        """How the job of *token* began as it was claimed; None where it has not begun yet."""
        with self._lock:
            held = self._held.get(token)
            return held.begun if held else None

    def claim_for(self, token: str) -> Claim:
        """What this process shows to prove that it holds *token*."""
        return Claim(token, self.owner) if self.is_held(token) else Claim(token or "none", "nobody")

    def is_held(self, token: str) -> bool:
        """Whether *token* is this process's, as far as it knows."""
        with self._lock:
            return token in self._held

    def count(self) -> int:
        """How many messages this process holds."""
        with self._lock:
            return len(self._held)

    def will_end(self, token: str) -> None:
        """Say that a command ends this claim now: it is no loss where a renewal does not find it any more."""
        self.note_job(token, "")

    def has_ended(self, token: str) -> None:
        """Say that such a command has ended it: there is nothing to acknowledge."""
        self._forget(token)

    def is_full(self, most: int) -> bool:
        """Whether *most* messages are held; then the loop is woken as soon as there are fewer."""
        with self._lock:
            self._was_full = len(self._held) >= most
            return self._was_full

    def ack(self, token: str) -> None:
        """End the claim; where Redis cannot be reached, it is told later. Nothing happens where it is not held."""
        if self._forget(token):
            self._backlog.send(claims.acknowledge(self._keys, token=token, owner=self.owner))

    def give_back(self, token: str) -> None:
        """Put the message back first in its list, uncounted."""
        if self._forget(token):
            self._backlog.send(claims.give_back(self._keys, token=token, owner=self.owner))

    def postpone(self, token: str, *, due_in_s: float, message: str = "") -> None:
        """Let the message, or *message* in its place, wait for *due_in_s* outside of the list."""
        if self._forget(token):
            command = claims.postpone(self._keys, token=token, owner=self.owner, due_in_s=due_in_s, message=message)
            self._backlog.send(command)

    def give_back_all(self) -> int:
        """Put back everything at once and return how many messages that were."""
        with self._lock:
            tokens = list(self._held)
        for token in reversed(tokens):  # each goes first, so the one that came first goes last
            self.give_back(token)
        return len(tokens)

    def stop_claiming(self) -> None:
        """Claim no more; what is held stays held."""
        self.is_claiming = False

    def close(self) -> None:
        """Renew no more; what is held goes to others when its lease runs out."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(5)

    def _forget(self, token: str) -> bool:
        with self._lock:
            was_held = self._held.pop(token, None) is not None
            was_full, self._was_full = self._was_full, False
        if was_full:  # else a turn of the loop would only take the interpreter from a forward
            self.wake()
        return was_held

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        tick_s = min(_TICK_S, self._duration_s / 4)
        while not self._closed.wait(tick_s):
            for step in (self._renew, self._backlog.catch_up, self._serve_fleet):
                self._try(step)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except redis.RedisError as error:
            log.warning("leases wait for redis", error=str(error))
            self.redelivery.distrust()
        except Exception:  # whatever one message or hook does, the leases of all others are renewed
            log.exception("a step of the leases failed")

    def _serve_fleet(self) -> None:
        for step in (self.redelivery.promote, self.redelivery.redeliver):
            if step():
                self.wake()

    def _renew(self) -> None:
        with self._lock:
            held = {token: each.job_id for token, each in self._held.items()}
        if not held or time.monotonic() - self._renewed_at < self._duration_s / 4:
            return
        reply: Any = self._client.execute_command(
            *claims.renew(self._keys, owner=self.owner, duration_s=self._duration_s, jobs_by_token=held)
        )
        lost, canceled = reply
        self._renewed_at = time.monotonic()
        for token in lost:
            if held[token] and self._lose(token):
                log.warning("lease lost", job_id=held[token])
                self.lost += 1
                self.on_lost(token)
        for job_id in canceled:
            self.on_cancel(job_id)

    def _lose(self, token: str) -> bool:
        with self._lock:
            held = self._held.get(token)
            return bool(held and held.job_id) and self._forget(token)
