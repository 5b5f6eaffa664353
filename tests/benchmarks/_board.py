"""A file in memory in which many processes say what they did, each in a slot of its own."""

import mmap
import struct
import time
from pathlib import Path
from typing import Final, NamedTuple

_LAYOUT: Final = struct.Struct("=ddqqq")
SLOTS: Final = 256


class Counts(NamedTuple):
    """What one process has done so far."""

    #: Seconds in which its device worked, up to the last job that ended.
    busy_s: float
    #: When the job on the device began (`time.monotonic`); 0 where there is none.
    since: float
    jobs: int
    claims: int
    #: Claims that found nothing.
    empty: int

    def busy_until(self, now: float) -> float:
        """Seconds in which its device worked, up to *now*."""
        return self.busy_s + (max(now - self.since, 0) if self.since else 0)


class Slot:
    """The place of one process; written by it alone."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory, self._offset = memory, offset
        self._counts = Counts(0.0, 0.0, 0, 0, 0)

    def begin(self) -> None:
        """A job is on the device."""
        self._write(self._counts._replace(since=time.monotonic()))

    def end(self) -> None:
        """It has left."""
        counts = self._counts
        busy_s = counts.busy_until(time.monotonic())
        self._write(counts._replace(busy_s=busy_s, since=0.0, jobs=counts.jobs + 1))

    def claimed(self, *, empty: bool) -> None:
        """A message was asked for."""
        counts = self._counts
        self._write(counts._replace(claims=counts.claims + 1, empty=counts.empty + empty))

    def _write(self, counts: Counts) -> None:
        self._counts = counts
        _LAYOUT.pack_into(self._memory, self._offset, *counts)


class Board:
    """The file; made where it is not there."""

    def __init__(self, path: str | Path) -> None:
        file = Path(path)
        if not file.exists():
            file.write_bytes(bytes(_LAYOUT.size * SLOTS))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 0)

    def slot(self, index: int) -> Slot:
        """The slot of process *index*."""
        return Slot(self._memory, index * _LAYOUT.size)

    def read(self, count: int) -> list[Counts]:
        """What the first *count* processes have done."""
        return [Counts(*_LAYOUT.unpack_from(self._memory, index * _LAYOUT.size)) for index in range(count)]
