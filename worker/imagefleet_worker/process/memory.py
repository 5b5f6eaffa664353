"""Memory: keeps what a process uses from growing with the number of its jobs.

The growth is no leak. Jobs of many sizes, in many threads, leave gaps in the heaps of glibc, and cycles of objects wait
for a collection that looks at all objects of the process.
"""

import ctypes
import gc
import os
import threading
import time
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

#: Seconds between two trims; each takes some milliseconds, without the interpreter's lock.
_EVERY_S: Final = 15.0
#: The variable of glibc, its number in malloc.h and our value for it; see mallopt(3).
_TUNABLES: Final = (
    ("MALLOC_ARENA_MAX", -8, 1),
    ("MALLOC_MMAP_THRESHOLD_", -3, 32 * 2**20),  # the most that every glibc accepts
    ("MALLOC_TRIM_THRESHOLD_", -1, 16 * 2**20),
)


def tune_allocator() -> None:
    """Let all threads share one heap, which keeps up to 16 MiB that they free at its end.

    By default glibc gives each thread a heap of its own, up to eight for each core, and no thread fills the gaps of
    another. It returns the end of a heap to the system as soon as it is some 4 MiB, and asks for it again at the next
    operation: on a CPU, the page faults were a tenth of a forward of 32 rows. With a limit of 1 GiB in place of 16 MiB,
    a worker kept 6 kB more for each job. Variables of glibc that are set decide instead. Call it before threads start.
    """
    mallopt: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, parameter, value in _TUNABLES:
        if variable not in os.environ:
            mallopt(parameter, value)


def leave_out_of_collections() -> None:
    """Let collections of garbage look only at objects that are made from now on.

    Python looks for all cycles when the new objects are a quarter of the old ones. Here the libraries are most of the
    old ones: the cycles of some hundred jobs would wait, with their tensors, and a collection would stop the device.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # so that Python counts the old objects anew: there are none


class MemoryTrim:
    """Gives memory that the allocator keeps for later back to the system, if the allocator is that of glibc.

    glibc itself returns memory only from the end of each heap, so that a worker that has had the largest jobs once
    would stay as large.
    """

    def __init__(self) -> None:
        self._trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def start(self) -> None:
        """Trim every fifteen seconds from now on, in a thread of its own, for as long as the process lives."""
        if self._trim is not None:
            threading.Thread(target=self._run, name="memory-trim", daemon=True).start()

    def trim(self) -> float:
        """Trim now; the seconds that this took."""
        start = time.perf_counter()
        if self._trim is not None:
            self._trim(0)
        return time.perf_counter() - start

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(_EVERY_S):
            log.debug("memory trimmed", seconds=round(self.trim(), 4))
