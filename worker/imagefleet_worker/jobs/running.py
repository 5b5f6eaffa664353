"""The register of running attempts: the messages that this process holds, how far each job is, and what may stop it."""

import math
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Final, NamedTuple

from imagefleet.store.records import Claim
from imagefleet_worker.errors import JobCanceled, JobExpired, JobTimedOut, LeaseLost
from imagefleet_worker.queue.claim_listener import ClaimListener


class AttemptState(Enum):
    """How far an attempt is; the states follow each other in this order, and an attempt may skip some."""

    #: The process holds the message; no thread runs the job yet. A delivery of a webhook stays here.
    CLAIMED = "claimed"
    #: As claimed, but it is not on its way to a thread: a rate limit of Celery keeps it back.
    LIMITED = "limited"
    #: A thread runs the job; the engine does not know of it yet.
    DISPATCHED = "dispatched"
    #: The engine has the job: it waits for its turn there, or runs.
    ON_DEVICE = "on the device"
    #: The images are made; they are encoded and uploaded.
    UPLOADING = "uploading"
    #: The end of the attempt is being recorded.
    ENDING = "ending"


#: The states in which no thread runs the job yet.
_WAITING: Final = (AttemptState.CLAIMED, AttemptState.LIMITED)


class RunningAttempt:
    """One attempt at one job."""

    def __init__(
        self,
        job_id: str,
        *,
        claim: Claim,
        state: AttemptState = AttemptState.DISPATCHED,
        confirmed_at: float | None = None,
    ) -> None:
        self.job_id = job_id
        self.claim = claim
        self.state = state
        #: No other attempt has this name; the keys of what it stores hold it.
        self.name = uuid.uuid4().hex[:12]
        #: When the lease was last known to be held, by the monotonic clock.
        self.confirmed_at = time.monotonic() if confirmed_at is None else confirmed_at
        #: The number of the attempt, from 1; 0 before the job is marked as running.
        self.number = 0
        #: Seconds that the job waited in the queue.
        self.queued_s = 0.0
        #: Of the job; empty if it is not known.
        self.fingerprint = ""
        #: Whether a worker was lost that held the message.
        self.is_redelivered = False
        #: The most jobs that may be on the device together with this one, itself included; None: any number.
        self.concurrency_limit: int | None = None
        self.deadline: datetime | None = None
        #: Seconds that the attempt may take, from a time of the monotonic clock on.
        self.time_limit_s, self.began_at = math.inf, time.monotonic()
        #: Denoising steps done and in all; (0, 0) before the first.
        self.steps: tuple[int, int] = (0, 0)
        self._canceled = threading.Event()
        self._lost = threading.Event()
        #: Set with each of the above.
        self._interrupted = threading.Event()

    def cancel(self) -> None:
        """Ask the attempt to stop at its next step."""
        self._canceled.set()
        self._interrupted.set()

    def mark_lost(self) -> None:
        """Note that the message is no longer held by this process."""
        self._lost.set()
        self._interrupted.set()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the attempt is to stop."""
        left_s = (self.deadline - datetime.now(UTC)).total_seconds() if self.deadline else seconds
        self._interrupted.wait(max(min(seconds, left_s, self._left_of_limit_s()), 0))

    @property
    def is_repeated(self) -> bool:
        """Whether an earlier attempt at the job may have stored something."""
        return self.number > 1 or self.is_redelivered

    @property
    def is_canceled(self) -> bool:
        """Whether the attempt has been asked to stop."""
        return self._canceled.is_set()

    @property
    def is_lost(self) -> bool:
        """Whether another worker may hold the message by now."""
        return self._lost.is_set()

    def check(self) -> None:
        """Return if the attempt may go on.

        Raises:
            LeaseLost: If another worker may have the job.
            JobCanceled: If the job was canceled.
            JobExpired: If its deadline has passed.
            JobTimedOut: If it has taken longer than its time limit.
        """
        if self._lost.is_set():
            raise LeaseLost("the lease ran out while the job was running")
        if self._canceled.is_set():
            raise JobCanceled("canceled while it was running; submit it under a new id if its images are wanted")
        if self.deadline and datetime.now(UTC) >= self.deadline:
            raise JobExpired(f"the deadline {self.deadline.isoformat()} has passed; submit it again with a later one")
        if self._left_of_limit_s() <= 0:
            raise JobTimedOut(f"the attempt took longer than its time limit of {self.time_limit_s:g} s; ask for less")

    def _left_of_limit_s(self) -> float:
        return self.began_at + self.time_limit_s - time.monotonic()


class Work(NamedTuple):
    """What this process has done since its start."""

    #: Attempts that are over, however they ended.
    ended: int
    #: Seconds in which at least one attempt was running.
    worked_s: float


class Coming(NamedTuple):
    """Jobs that the process has claimed and the engine does not know of yet."""

    jobs: int
    #: The smallest limit of one of them, as `RunningAttempt.concurrency_limit`.
    concurrency_limit: int | None


_COMING: Final = (AttemptState.CLAIMED, AttemptState.DISPATCHED)


class RunningAttempts(ClaimListener):
    """All attempts of this process; `Leases` reports to it what is claimed, released and lost."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._changed = threading.Condition()
        #: By token; an attempt without a claim by its job id.
        self._attempts: dict[str, RunningAttempt] = {}
        self._clock = clock
        self._busy_since = 0.0
        self._work = Work(0, 0.0)

    def claimed(self, claim: Claim, *, concurrency_limit: int | None = None) -> None:
        """Enter a message that this process has claimed."""
        attempt = RunningAttempt("", claim=claim, state=AttemptState.CLAIMED)
        attempt.concurrency_limit = concurrency_limit
        with self._changed:
            self._attempts[claim.token] = attempt

    def released(self, token: str) -> None:
        """Remove a message that is not held any more; an attempt that runs stays until `tracking` ends."""
        with self._changed:
            if (attempt := self._attempts.get(token)) and attempt.state in _WAITING:
                del self._attempts[token]

    def wait_for_rate(self, token: str, *, waits: bool) -> None:
        """Note whether a rate limit keeps the message back that was claimed as *token*."""
        with self._changed:
            if attempt := self._attempts.get(token):
                attempt.state = AttemptState.LIMITED if waits else AttemptState.CLAIMED

    def mark_lost(self, token: str) -> None:
        """Tell the attempt that was claimed as *token* that its lease is gone."""
        with self._changed:
            if attempt := self._attempts.get(token):
                attempt.mark_lost()

    def mark_all_lost(self) -> None:
        """Tell every attempt that its message has been given back."""
        with self._changed:
            for attempt in self._attempts.values():
                attempt.mark_lost()

    def cancel(self, job_id: str) -> None:
        """Ask the attempts at *job_id* to stop, if there are any."""
        with self._changed:
            for attempt in self._attempts.values():
                if attempt.job_id == job_id:
                    attempt.cancel()

    @contextmanager
    def tracking(self, job_id: str, *, claim: Claim) -> Generator[RunningAttempt]:
        """The attempt at *job_id*, entered as dispatched for as long as the block runs."""
        key = claim.token or job_id
        with self._changed:
            if not self._running():
                self._busy_since = self._clock()
            claimed = self._attempts.pop(key, None)
            attempt = RunningAttempt(job_id, claim=claim, confirmed_at=claimed.confirmed_at if claimed else None)
            if claimed:
                attempt.concurrency_limit = claimed.concurrency_limit
                if claimed.is_lost:
                    attempt.mark_lost()
            self._attempts[key] = attempt
        try:
            yield attempt
        finally:
            with self._changed:
                self._attempts.pop(key, None)
                worked_s = 0.0 if self._running() else self._clock() - self._busy_since
                self._work = Work(self._work.ended + 1, self._work.worked_s + worked_s)
                self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no attempt runs; False if one still runs after *timeout_s*."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running(), timeout=timeout_s)

    def work(self) -> Work:
        """What this process has done since its start."""
        with self._changed:
            now_s = self._clock() - self._busy_since if self._running() else 0.0
            return Work(self._work.ended, self._work.worked_s + now_s)

    def coming(self) -> Coming:
        """What is on its way to the engine."""
        with self._changed:
            coming = [each for each in self._attempts.values() if each.state in _COMING]
            limits = (each.concurrency_limit for each in coming)
            return Coming(len(coming), min((limit for limit in limits if limit is not None), default=None))

    def count(self, *states: AttemptState) -> int:
        """The number of attempts in any of *states*."""
        with self._changed:
            return sum(attempt.state in states for attempt in self._attempts.values())

    def running(self) -> list[RunningAttempt]:
        """Every attempt that a thread runs, in the order in which they began."""
        with self._changed:
            return self._running()

    def _running(self) -> list[RunningAttempt]:
        return [attempt for attempt in self._attempts.values() if attempt.state not in _WAITING]
