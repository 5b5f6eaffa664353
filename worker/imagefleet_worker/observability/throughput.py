"""RateWindow: how fast counters that only grow have grown in the last minute, and in the last minute of work."""

from collections import deque
from typing import Final, NamedTuple

_WINDOW_S: Final = 60.0


class Rates(NamedTuple):
    """Averages over the last minute."""

    #: Images per second.
    images: float
    #: The share of time that the device was busy, 0 to 1.
    busy: float


class RateWindow:
    """The counters of one process over the last minute; for use by one thread."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float, float]] = deque()

    def note(self, *, at: float, images: float, busy_s: float) -> Rates:
        """Note the counters at the moment *at* of a steady clock, in seconds, and return the rates of the last minute.

        A process that is younger than a minute is measured since its first note; before the second note all is zero.
        """
        self._marks.append((at, images, busy_s))
        while len(self._marks) > 1 and self._marks[1][0] <= at - _WINDOW_S:
            self._marks.popleft()
        began, images_then, busy_then = self._marks[0]
        elapsed = at - began
        if elapsed <= 0:
            return Rates(0.0, 0.0)
        return Rates((images - images_then) / elapsed, min(1.0, (busy_s - busy_then) / elapsed))


class JobRate:
    """How fast the jobs of one process end; for use by one thread. Time without jobs does not count."""

    def __init__(self) -> None:
        self._window = RateWindow()
        self._window.note(at=0.0, images=0, busy_s=0.0)
        self._ended = 0
        self._known: float | None = None

    def note(self, *, worked_s: float, ended: int) -> float | None:
        """Note the counters and return the jobs per second of the last minute of work; None until one has ended.

        It is measured from one end of a job to the next, so that a job of many minutes counts correctly.
        """
        if ended > self._ended:
            self._ended = ended
            self._known = self._window.note(at=worked_s, images=ended, busy_s=0.0).images or self._known
        return self._known
