"""Startup timing: how long each phase of this process's start took."""

import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

_IMPORTED_AT = time.monotonic()


class StartupTiming:
    """The phases of one start, in their order: `python` first, then each that `phase` timed.

    A worker that makes images has `python` (the interpreter, Celery, settings), `storage` (the bucket answered),
    `import` (torch and diffusers), `load` (the model is on its device) and `warm_up`. A sender has only `python`.
    """

    def __init__(self) -> None:
        """The phase `python` ends now."""
        self._seconds = {"python": process_age_s()}

    @property
    def seconds(self) -> Mapping[str, float]:
        """The duration of each phase that has ended."""
        return MappingProxyType(self._seconds)

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Time the block as the phase *name*."""
        began = time.monotonic()
        yield
        self._seconds[name] = time.monotonic() - began


def process_age_s() -> float:
    """Seconds since this process was started; if the system does not say, since this module was imported."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # loads no pathlib
            ticks = int(file.read().rpartition(")")[2].split()[19])  # proc(5): field 22, from boot to start
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.monotonic() - _IMPORTED_AT
    return max(age, 0.0)
