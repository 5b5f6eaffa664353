"""What one process uses, sampled along the jobs that it has ended, and how that grows."""

import statistics
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import psutil

#: A worker gives unused memory back every fifteen seconds: what it keeps is the least of the last twenty.
_WINDOW_S = 20.0
_LOOK_S = 0.25


class Sample(NamedTuple):
    """What the process used after *jobs* jobs."""

    jobs: int
    #: Resident memory, in bytes: the least of the last twenty seconds.
    resident: int
    fds: int
    threads: int


@dataclass
class ProcessWatch:
    """The samples of the process *pid*."""

    pid: int
    samples: list[Sample] = field(default_factory=list)
    _looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=round(_WINDOW_S / _LOOK_S)))

    @contextmanager
    def looking(self) -> Generator[None]:
        """Look at the memory four times a second while the context lasts."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(_LOOK_S):
                self._look()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def note(self, jobs: int) -> Sample:
        """Add a sample."""
        process = psutil.Process(self.pid)
        resident, since = process.memory_info().rss, time.monotonic() - _WINDOW_S
        least = min([resident, *(each for at, each in tuple(self._looks) if at >= since)])
        sample = Sample(jobs, least, process.num_fds(), process.num_threads())
        self.samples.append(sample)
        return sample

    def _look(self) -> None:
        self._looks.append((time.monotonic(), psutil.Process(self.pid).memory_info().rss))

    def second_half(self) -> list[Sample]:
        """The samples of the second half of the run, with the one in its middle."""
        middle = self.samples[-1].jobs / 2
        return [sample for sample in self.samples if sample.jobs >= middle]

    def bytes_per_job(self) -> float:
        """By how much the resident memory grew for each job of the second half.

        It is the median of the slopes between all pairs of samples (Theil-Sen), which single dips do not change.
        """
        pairs = combinations(self.second_half(), 2)
        return statistics.median((late.resident - early.resident) / (late.jobs - early.jobs) for early, late in pairs)
