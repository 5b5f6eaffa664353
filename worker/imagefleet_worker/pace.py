"""Pace: how fast counters that only grow have grown in the last minute, and in the last minute of work."""

from collections import deque
from typing import Final, NamedTuple

_WINDOW_S: Final = 60.0


class Rates(NamedTuple):
    """What one second of the last minute brought."""

    images: float
    #: Seconds of device time in each second, 0 to 1.
    busy: float


class Pace:
    """The counters of one process; for one thread."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float, float]] = deque()

    def note(self, *, at: float, images: float, busy_s: float) -> Rates:
        """Note the counters *at* this second of a steady clock, and return the rates since a minute ago.

        A process that is younger than a minute is measured since its first mark; before the second mark all is zero.
        """
        self._marks.append((at, images, busy_s))
        while len(self._marks) > 1 and self._marks[1][0] <= at - _WINDOW_S:
            self._marks.popleft()
        began, images_then, busy_then = self._marks[0]
        elapsed = at - began
        if elapsed <= 0:
            return Rates(0.0, 0.0)
        return Rates((images - images_then) / elapsed, min(1.0, (busy_s - busy_then) / elapsed))


class Speed:
    """How fast the jobs of one process end while it has any; for one thread. Time without jobs is left out."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._pace.note(at=0.0, images=0, busy_s=0.0)
        self._ended = 0
        self._known: float | None = None

    def note(self, *, worked_s: float, ended: int) -> float | None:
        """Note the counters and return the jobs per second of the last minute of work; None until one has ended.

        It is counted from end to end, so that a job of many minutes does not look like none, or like one a minute.
        """
        if ended > self._ended:
            self._ended = ended
            self._known = self._pace.note(at=worked_s, images=ended, busy_s=0.0).images or self._known
        return self._known
