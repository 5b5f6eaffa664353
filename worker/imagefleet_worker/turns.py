"""Turns: who may use the device now, in the order of arrival."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

from imagefleet_worker.budget import Budget


class Visit:
    """One job's stay on the device; it tells how far it is, so that others can come in time."""

    def __init__(self, turns: "Turns", *, cost: int, is_exclusive: bool) -> None:
        #: Rows times pixels of its calls.
        self.cost = cost
        self.is_exclusive = is_exclusive
        self.has_entered = False
        self.is_ending = False
        self.has_left = False
        self._turns = turns

    def enter(self) -> None:
        """Wait for the turn: before it, only what goes beside the work of others may be done."""
        if not self.has_entered:
            self._turns.wait_for(self)

    def entering(self, then: Callable[[], None] | None) -> Callable[[], None]:
        """What calls `enter`, and *then*, if any."""

        def enter() -> None:
            self.enter()
            if then is not None:
                then()

        return enter

    def end_soon(self) -> None:
        """The last step runs or is done: the worker may fetch the next job."""
        if not self.is_ending:
            self._turns.update(self, is_ending=True)

    def leave(self) -> None:
        """The device's next job may start; this one still has a little to do."""
        if not self.has_left:
            self._turns.update(self, is_ending=True, has_left=True)


class Turns:
    """Lets at most *limit* jobs use the device at once, first come first served; an exclusive job is alone.

    They are no more than fit *budget* together, but one is always let in: more would wait for each other's forwards.
    Who waits may prepare itself meanwhile, so that it is ready when its turn comes.
    """

    def __init__(self, limit: int, *, budget: Budget) -> None:
        #: Called, from any thread, whenever there may be room that was not there before; and not without need, since
        #: it wakes a thread, which takes the interpreter from the one that runs a forward.
        self.on_room: Callable[[], None] = lambda: None
        self._limit = limit
        self._budget = budget
        self._changed = threading.Condition()
        self._waiting: deque[Visit] = deque()
        self._present: list[Visit] = []

    @contextmanager
    def visit(self, *, cost: int, is_exclusive: bool = False) -> Generator[Visit]:
        """Stand in line for a turn, and hold it until `Visit.leave` or the end of the block.

        The block begins before the turn, and calls `Visit.enter` when it is prepared. Where jobs run one at a time it
        begins with the turn, and beside an exclusive job none begins.
        """
        visit = Visit(self, cost=cost, is_exclusive=is_exclusive)
        with self._changed:
            self._waiting.append(visit)
            self._admit()
        try:
            if is_exclusive or self._limit == 1:
                visit.enter()
            else:
                with self._changed:
                    self._changed.wait_for(lambda: not self._is_behind_exclusive(visit))
            yield visit
        finally:
            with self._changed:
                (self._present if visit.has_entered else self._waiting).remove(visit)
                self._admit()
            if visit.is_exclusive or not visit.is_ending:  # the room of one that was ending is known
                self.on_room()

    def wait_for(self, visit: Visit) -> None:
        """Wait until it is the turn of *visit*."""
        with self._changed:
            self._changed.wait_for(lambda: visit.has_entered)

    def has_room(self, *, cost: int, coming: int = 0) -> bool:
        """Whether one more job than *coming*, each of about *cost*, would find the device free, or free in a moment."""
        with self._changed:
            if any(visit.is_exclusive for visit in (*self._waiting, *self._present)):
                return False
            before = [visit.cost for visit in (*self._waiting, *(v for v in self._present if not v.is_ending))]
            return self._fits([*before, *[cost] * coming], cost)

    def count(self) -> int:
        """How many jobs use the device."""
        with self._changed:
            return len(self._present)

    def update(self, visit: Visit, *, is_ending: bool, has_left: bool = False) -> None:
        """Note how far *visit* is, and let others act on it."""
        with self._changed:
            is_news = is_ending and not visit.is_ending  # who leaves makes no more room than who was about to
            visit.is_ending, visit.has_left = is_ending, has_left
            self._admit()
        if is_news:
            self.on_room()

    def _admit(self) -> None:
        """Let in who may come in, in order, prepared or not; and wake all, for some may begin to prepare themselves."""
        while self._waiting and self._may_enter(self._waiting[0]):
            visit = self._waiting.popleft()
            visit.has_entered = True
            self._present.append(visit)
        self._changed.notify_all()

    def _is_behind_exclusive(self, visit: Visit) -> bool:
        before = itertools.takewhile(lambda other: other is not visit, self._waiting)
        return not visit.has_entered and any(other.is_exclusive for other in (*self._present, *before))

    def _may_enter(self, visit: Visit) -> bool:
        if visit.is_exclusive:
            return not self._present
        if any(other.is_exclusive for other in self._present):
            return False
        return self._fits([other.cost for other in self._present if not other.has_left], visit.cost)

    def _fits(self, before: list[int], cost: int) -> bool:
        if not before:
            return True
        return len(before) < self._limit and sum(before) + cost <= self._budget.max_pixels
