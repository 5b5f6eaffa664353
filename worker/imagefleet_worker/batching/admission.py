"""Admission: which runs may be on the device now, in the order of their arrival."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from imagefleet_worker.batching.budget import BatchBudget
from imagefleet_worker.batching.run import DeviceRun, RunState


class Admission:
    """Lets at most *limit* runs be on the device at once, first come first served; a run may have a lower limit.

    They are no more than fit *budget* together, but one is always let in: more would wait for each other's forwards.
    The device loop calls `admit` and `note`; the other methods may be called from any thread.
    *on_capacity* is called, by the loop, when there may be capacity that was not there before; not without need, since
    it wakes another thread, which takes the interpreter from the one that launches forwards.
    """

    def __init__(self, limit: int, *, budget: BatchBudget, on_capacity: Callable[[], None]) -> None:
        #: The most runs on the device; changed by the device loop only.
        self.limit = limit
        self._budget = budget
        self._on_capacity = on_capacity
        self._lock = threading.Lock()
        self._waiting: deque[DeviceRun] = deque()
        self._present: list[DeviceRun] = []
        self._announced: set[DeviceRun] = set()

    def enqueue(self, runs: Sequence[DeviceRun]) -> None:
        """Let *runs* wait for their admission; from any thread."""
        for run in runs:
            run.on_progress = self.note
        with self._lock:
            self._waiting.extend(runs)

    def admit(self) -> list[DeviceRun]:
        """The runs that may begin now; from here on they count as present."""
        admitted: list[DeviceRun] = []
        with self._lock:
            while self._waiting and self._may_enter(self._waiting[0]):
                run = self._waiting.popleft()
                self._present.append(run)
                admitted.append(run)
        return admitted

    def note(self, run: DeviceRun) -> None:
        """Act on the progress of *run*."""
        with self._lock:
            is_limited = self._limit_of((*self._waiting, *self._present)) is not None
            if run.state is RunState.DONE:
                (self._present if run in self._present else self._waiting).remove(run)
        if is_limited:  # runs that are about to end count until they have gone
            has_freed = run.state is RunState.DONE
        else:
            has_freed = run.is_ending and run not in self._announced
            if has_freed:
                self._announced.add(run)
        if run.state is RunState.DONE:
            self._announced.discard(run)
        if has_freed:
            self._on_capacity()

    def fail_waiting(self, error: BaseException) -> None:
        """End all runs that have not begun with *error*."""
        with self._lock:
            waiting = list(self._waiting)
        for run in waiting:
            run.fail(error)

    def has_capacity(self, *, cost: int, coming: int = 0, concurrency_limit: int | None = None) -> bool:
        """Whether one more job than *coming*, each of about *cost*, would find the device free, or free in a moment.

        The smallest limit of a job that is coming is *concurrency_limit*; None: they have none.
        """
        with self._lock:
            here = (*self._waiting, *self._present)
            if not self._is_within(self._limit_of(here), len(here) + coming + 1):
                return False
            if not self._is_within(concurrency_limit, len(here) + coming + 1):
                return False
            before = [run.cost for run in (*self._waiting, *(run for run in self._present if not run.is_ending))]
            return self._fits([*before, *[cost] * coming], cost)

    def places(self, *, beside: Sequence[DeviceRun]) -> int:
        """How many more runs the limits would let in *beside* these, which have begun; the budget may allow fewer."""
        own = self._limit_of(beside)
        return max(0, (self.limit if own is None else min(self.limit, own)) - len(beside))

    def count(self) -> int:
        """The number of runs on the device."""
        with self._lock:
            return len(self._present)

    def _may_enter(self, run: DeviceRun) -> bool:
        if not self._is_within(self._limit_of((*self._present, run)), len(self._present) + 1):
            return False
        if self.limit == 1:
            return not self._present
        return self._fits([other.cost for other in self._present if other.state < RunState.DECODING], run.cost)

    def _fits(self, before: list[int], cost: int) -> bool:
        if not before:
            return True
        return len(before) < self.limit and sum(before) + cost <= self._budget.max_pixels

    @staticmethod
    def _limit_of(runs: Sequence[DeviceRun]) -> int | None:
        return min((run.concurrency_limit for run in runs if run.concurrency_limit is not None), default=None)

    @staticmethod
    def _is_within(limit: int | None, count: int) -> bool:
        return limit is None or count <= limit
