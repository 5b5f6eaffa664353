"""Flights: the attempts that this process is making right now, and what may end one from outside."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from imagefleet.records import Claim
from imagefleet_worker.errors import JobCanceled, JobExpired, LeaseLost


class Flight:
    """One attempt at one job."""

    def __init__(self, job_id: str, *, claim: Claim) -> None:
        self.job_id = job_id
        self.claim = claim
        self.deadline: datetime | None = None
        #: Whether the attempt has come to the device, or is past it.
        self.has_arrived = False
        #: Denoising steps done and in all; (0, 0) before the first.
        self.steps: tuple[int, int] = (0, 0)
        self._canceled = threading.Event()
        self._lost = threading.Event()

    def cancel(self) -> None:
        """Ask the attempt to stop at its next step."""
        self._canceled.set()

    def lose(self) -> None:
        """Tell the attempt that the message is no longer this process's."""
        self._lost.set()

    @property
    def is_canceled(self) -> bool:
        """Whether somebody has asked the attempt to stop."""
        return self._canceled.is_set()

    @property
    def is_lost(self) -> bool:
        """Whether another worker may have the message by now."""
        return self._lost.is_set()

    def check(self) -> None:
        """Return if the attempt may go on.

        Raises:
            LeaseLost: where another worker may have the job.
            JobCanceled: where somebody canceled it.
            JobExpired: where its deadline has passed.
        """
        if self._lost.is_set():
            raise LeaseLost("the lease ran out while the job was running")
        if self._canceled.is_set():
            raise JobCanceled("canceled while it was running")
        if self.deadline and datetime.now(UTC) >= self.deadline:
            raise JobExpired(f"the deadline {self.deadline.isoformat()} has passed")


class Work(NamedTuple):
    """What this process has done since its start."""

    #: Attempts that are over, however they went.
    ended: int
    #: Seconds in which there was at least one attempt.
    worked_s: float


class Flights:
    """All attempts of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._changed = threading.Condition()
        self._flights: dict[str, Flight] = {}
        self._clock = clock
        self._since = 0.0
        self._work = Work(0, 0.0)

    @contextmanager
    def boarding(self, flight: Flight) -> Generator[Flight]:
        """Register *flight* for as long as the block runs."""
        key = flight.claim.token or flight.job_id
        with self._changed:
            if not self._flights:
                self._since = self._clock()
            self._flights[key] = flight
        try:
            yield flight
        finally:
            with self._changed:
                self._flights.pop(key, None)
                self._work = Work(self._work.ended + 1, self._work.worked_s)
                if not self._flights:
                    self._work = Work(self._work.ended, self._work.worked_s + self._clock() - self._since)
                self._changed.notify_all()

    def cancel(self, job_id: str) -> None:
        """Ask the attempts at *job_id* to stop; no matter where there is none."""
        with self._changed:
            for flight in self._flights.values():
                if flight.job_id == job_id:
                    flight.cancel()

    def lose(self, token: str) -> None:
        """Tell the attempt that was claimed as *token* that its lease is gone."""
        with self._changed:
            if flight := self._flights.get(token):
                flight.lose()

    def lose_all(self) -> None:
        """Tell every attempt that its message has been handed back."""
        with self._changed:
            for flight in self._flights.values():
                flight.lose()

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until no attempt is left; whether that was so within *timeout_s*."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._flights, timeout=timeout_s)

    def work(self) -> Work:
        """What this process has done since its start."""
        with self._changed:
            now_s = self._clock() - self._since if self._flights else 0.0
            return Work(self._work.ended, self._work.worked_s + now_s)

    def count_arrived(self) -> int:
        """How many attempts have come to the device, or are past it."""
        with self._changed:
            return sum(flight.has_arrived for flight in self._flights.values())

    def all(self) -> list[Flight]:
        """Every attempt, the oldest first."""
        with self._changed:
            return list(self._flights.values())

    def __len__(self) -> int:
        with self._changed:
            return len(self._flights)
