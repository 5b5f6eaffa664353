"""The baton: of the jobs that are between two forwards, one at a time works on its step.

Each small operator of torch lets go of Python's lock and takes it again. Where 32 threads step their schedulers at once
it changes hands at every operator, and half of the time goes there. One after the other, they lose nothing:
the steps are Python, and the device waits for all of them anyway. So a job whose forward is done sleeps on until the
one before it has brought its next call: a step wakes each thread once.
"""

import time
from collections import deque

from imagefleet_worker.seats import Seat

#: Who keeps the baton for longer, in a callback that waits, say, loses it: nobody is held up by a slow job.
LONGEST_S = 0.02


class Baton:
    """Held by at most one job; the others stand in line for it. Its methods want the meeting point's lock held."""

    def __init__(self) -> None:
        self._holder: Seat | None = None
        self._since = 0.0
        self._line: deque[Seat] = deque()

    def line_up(self, seat: Seat) -> None:
        """Let *seat* have it after those who are in line already."""
        self._line.append(seat)
        self._hand_on()

    def pass_on(self, seat: Seat) -> None:
        """Let the next one have it; nothing where *seat* does not have it."""
        if self._holder is seat:
            self._holder = None
            self._hand_on()

    def take_away(self) -> bool:
        """Let the next one have it if its holder kept it for too long; says whether it did."""
        is_kept = bool(self._line) and time.monotonic() - self._since >= LONGEST_S
        if is_kept:
            self._holder = None  # who had it passes on nothing any more
            self._hand_on()
        return is_kept

    def leave(self, seat: Seat) -> None:
        """Forget *seat*, wherever it is."""
        if seat in self._line:
            self._line.remove(seat)
        self.pass_on(seat)

    def _hand_on(self) -> None:
        if self._holder is None and self._line:
            self._holder = self._line.popleft()
            self._since = time.monotonic()
            self._holder.has_turn = True
            self._holder.wake()
