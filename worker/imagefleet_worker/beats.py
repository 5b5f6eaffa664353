"""Beats: the signs of life of a worker process in one small file, written by the process and read by its probes.

Imports nothing but the standard library's lightest parts: a probe runs every few seconds beside a busy device.
"""

import json
import os
import time
from typing import Final, Literal, NamedTuple

FILE_NAME: Final = "worker.json"

State = Literal["loading", "ready", "draining"]


class Beat(NamedTuple):
    """What a worker process says about itself. Moments are seconds of `time.monotonic`, one clock for the machine."""

    pid: int
    #: Tells a process from a later one with the same id; empty where the system does not say.
    born: str
    #: The moment of writing.
    at: float
    state: State
    #: When the state began.
    state_since: float
    #: Whether Celery's event loop is expected to turn; it is not while Celery connects to Redis again.
    is_consuming: bool
    #: When that began.
    consuming_since: float
    #: When the event loop turned last.
    loop_at: float
    #: Why Redis did not answer when it was last asked; empty where it did.
    redis_problem: str
    #: When Redis answered last; 0 for never.
    redis_at: float
    #: When it began to answer, or to not answer.
    redis_since: float
    #: Since when a job has been on the device; None where none is.
    device_since: float | None
    #: When the device finished something last.
    device_at: float
    #: How long it may be silent while a job is on it, in seconds.
    device_timeout_s: float


def path_in(folder: str) -> str:
    """The heartbeat file of *folder*."""
    return f"{folder}/{FILE_NAME}"


def write(folder: str, beat: Beat) -> None:
    """Put *beat* in the place of the last one; a reader sees one or the other, never a part.

    Raises:
        OSError: where the folder cannot be written to.
    """
    path = path_in(folder)
    with open(f"{path}.new", "w", encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs a probe 5 ms
        json.dump(beat._asdict(), file)
    os.replace(f"{path}.new", path)  # noqa: PTH105  # as above


def read(folder: str) -> Beat | None:
    """The last beat in *folder*; None where there is none.

    Raises:
        OSError: where the file is there and cannot be read.
        ValueError: where it is no heartbeat, or one of another version.
    """
    try:
        with open(path_in(folder), encoding="utf-8") as file:  # noqa: PTH123  # as above
            data = json.load(file)
    except FileNotFoundError:
        return None
    try:
        return Beat(**data)
    except TypeError as error:
        raise ValueError(str(error)) from error


def now() -> float:
    """The moment, on the clock of all beats."""
    return time.monotonic()


def birth_of(pid: int) -> str | None:
    """What tells the process *pid* from an earlier one of that id (empty where unknown); None where none runs.

    Ids come again: in a container the worker is process 1 each time, and the file may have outlived the last one.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # as above
            state, *fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _birth_without_proc(pid)
    return None if state in ("Z", "X") else fields[18]  # proc(5): field 22, ticks from boot to start


def _birth_without_proc(pid: int) -> str | None:
    if os.path.exists("/proc/self/stat"):  # noqa: PTH110  # as above
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""
