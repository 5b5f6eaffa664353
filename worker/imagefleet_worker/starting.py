"""Starting: how long each phase of this process's start took, for whoever waits for cold workers."""

import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

_LOADED_AT = time.monotonic()
_seconds: dict[str, float] = {}

#: Seconds by phase, in their order: `python` (the interpreter, Celery, settings), `import` (torch and diffusers),
#: `storage` (the bucket answered), `load` (the model is on its device), `warm_up`. A sender has only the first.
SECONDS: Mapping[str, float] = MappingProxyType(_seconds)


@contextmanager
def phase(name: str) -> Generator[None]:
    """Time the block as the phase *name*."""
    began = time.monotonic()
    yield
    _seconds[name] = time.monotonic() - began


def begun() -> None:
    """The phase `python` ends here: the worker begins to open."""
    _seconds["python"] = age_s()


def age_s() -> float:
    """Seconds since this process was started; where the system does not say when, since this module was loaded."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # loads no pathlib
            ticks = int(file.read().rpartition(")")[2].split()[19])  # proc(5): field 22, from boot to start
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.monotonic() - _LOADED_AT
    return max(age, 0.0)
