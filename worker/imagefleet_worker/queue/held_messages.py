"""Held messages: what a process knows of the messages that it has claimed."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from imagefleet.store.records import Claim
from imagefleet_worker.queue.claim_listener import ClaimListener
from imagefleet_worker.queue.claims import Claimed, StartedAttempt
from imagefleet_worker.queue.lost_workers import concurrency_limit_of


class HeldState(Enum):
    """How far a claim is."""

    #: Redis may not have made it yet, or the reply was lost.
    CLAIMING = "claiming"
    HELD = "held"
    #: A command that ends it is on its way.
    ENDING = "ending"


@dataclass(slots=True)
class HeldMessage:
    """A message that is this process's, as far as it knows."""

    state: HeldState = HeldState.CLAIMING
    #: Empty until the message has been read.
    job_id: str = ""
    started: StartedAttempt | None = None
    #: Whether a thread runs its task.
    has_begun: bool = False
    #: When it was read, in seconds of a clock that only runs forward.
    read_at_s: float = 0.0

    @property
    def live_job_id(self) -> str:
        """The job that a cancel could still end, or empty."""
        return self.job_id if self.state is HeldState.HELD else ""


class HeldMessages:
    """All messages that this process holds, by the token of the claim; safe to use from many threads."""

    def __init__(self, *, listener: ClaimListener, wake: Callable[[], None]) -> None:
        """Tell *listener* of every change, and call *wake* when one ends after `is_full` was true."""
        self._listener = listener
        self._wake = wake
        self._lock = threading.RLock()  # a signal handler may give back while its thread holds the lock
        #: Notified when a message has been read, or is not held.
        self._is_read = threading.Condition(self._lock)
        self._held: dict[str, HeldMessage] = {}
        self._was_full = False
        #: False after `stop_claiming`.
        self.is_claiming = True
        #: Whether `take_waiting` was called: whoever reads a message after it must give it back.
        self._is_taken_back = False

    def stop_claiming(self) -> None:
        """Let no new claim begin."""
        with self._lock:
            self.is_claiming = False

    def claiming(self, token: str) -> bool:
        """Enter a claim that Redis is about to make: the reply may be lost. False after `stop_claiming`."""
        with self._lock:  # a claim that began after `take_waiting` would go back in front of those taken before it
            if self.is_claiming:
                self._held[token] = HeldMessage()
            return self.is_claiming

    def claimed(self, claimed: Claimed, *, owner: str) -> None:
        """Record that Redis has made the claim."""
        with self._lock:  # it may have been given back while the reply was on its way
            self._held.setdefault(claimed.token, HeldMessage()).started = claimed.started
        limit = concurrency_limit_of(claimed.message)
        self._listener.claimed(Claim(claimed.token, owner), concurrency_limit=limit)

    def note_job(self, token: str, job_id: str) -> bool:
        """Record the job of *token*; False if that came after `take_waiting`, so that nobody else will give it back."""
        with self._lock:
            if held := self._held.get(token):
                held.state, held.job_id, held.read_at_s = HeldState.HELD, job_id, time.monotonic()
            self._is_read.notify_all()
            return not self._is_taken_back

    def wait_until_read(self, timeout_s: float) -> bool:
        """Wait until no claim is on its way; False if one still is after *timeout_s*."""
        with self._is_read:
            return self._is_read.wait_for(
                lambda: all(each.state is not HeldState.CLAIMING for each in self._held.values()), timeout_s
            )

    def note_begun(self, token: str) -> None:
        """Record that a thread runs the task of *token*."""
        with self._lock:
            if held := self._held.get(token):
                held.has_begun = True

    def note_ending(self, token: str) -> None:
        """Record that a command is about to end the claim: it is not lost if a renewal does not find it."""
        with self._lock:
            if held := self._held.get(token):
                held.state = HeldState.ENDING

    def started(self, token: str) -> StartedAttempt | None:
        """The attempt that started as *token* was claimed; None if none has."""
        with self._lock:
            held = self._held.get(token)
            return held.started if held else None

    def __contains__(self, token: str) -> bool:
        with self._lock:
            return token in self._held

    def __len__(self) -> int:
        with self._lock:
            return len(self._held)

    def is_full(self, most: int) -> bool:
        """Whether *most* messages are held; if so, the loop is woken as soon as one of them ends."""
        with self._lock:
            self._was_full = len(self._held) >= most
            return self._was_full

    def tokens(self) -> list[str]:
        """The tokens of all held messages, in the order of their claims."""
        with self._lock:
            return list(self._held)

    def waiting_tokens(self, *, for_s: float = 0.0) -> list[str]:
        """As `tokens`, of the messages that were read *for_s* seconds ago or more, and whose tasks no thread runs."""
        with self._lock:
            read_by_s = time.monotonic() - for_s
            waiting = [(token, each) for token, each in self._held.items() if each.live_job_id and not each.has_begun]
            return [token for token, each in waiting if each.read_at_s <= read_by_s]

    def take_waiting(self, timeout_s: float) -> list[str]:
        """As `waiting_tokens`, before the process ends: wait up to *timeout_s* for claims that are on their way."""
        with self._is_read:
            self.wait_until_read(timeout_s)
            self._is_taken_back = True
            return self.waiting_tokens()

    def begun(self) -> int:
        """The number of messages whose tasks a thread runs."""
        with self._lock:
            return sum(each.has_begun for each in self._held.values())

    def live_jobs(self) -> dict[str, str]:
        """For each held token the job that a cancel could still end, or empty."""
        with self._lock:
            return {token: each.live_job_id for token, each in self._held.items()}

    def lose(self, token: str) -> bool:
        """Remove a message that another process holds by now; False if its end is on its way, or it has ended."""
        with self._lock:
            held = self._held.get(token)
            if held is None or held.state is not HeldState.HELD or not self.forget(token):
                return False
        self._listener.mark_lost(token)
        return True

    def forget(self, token: str) -> bool:
        """Remove a message that is not held any more; False if it was not."""
        with self._lock:
            was_held = self._held.pop(token, None) is not None
            was_full, self._was_full = self._was_full, False
            self._is_read.notify_all()
        if was_held:
            self._listener.released(token)
        if was_full:  # a needless turn of the loop would take the interpreter from a forward
            self._wake()
        return was_held
