"""The heartbeat file: the signs of life of a worker process, written by the process and read by its probes.

It imports only the lightest parts of the standard library, because a probe runs every few seconds beside a busy device.
"""

import json
import os
import time
from typing import Final, Literal, NamedTuple

FILE_NAME: Final = "worker.json"

State = Literal["loading", "ready", "draining"]


class Beat(NamedTuple):
    """The signs of life of a worker process. Moments are seconds of `time.monotonic`, one clock for the machine."""

    pid: int
    #: Tells the process from a later one with the same id; empty if the system does not say.
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
    #: Why Redis did not answer the last ping; empty if it did.
    redis_problem: str
    #: When Redis answered last; 0 if it never has.
    redis_at: float
    #: When Redis began to answer, or stopped answering.
    redis_since: float
    #: The moment since which a job has been on the device; None if no job is.
    device_since: float | None
    #: When the device gave its last sign.
    device_at: float
    #: How long the device may give no sign while a job is on it, in seconds.
    device_timeout_s: float


def path_in(folder: str) -> str:
    """The heartbeat file of *folder*."""
    return f"{folder}/{FILE_NAME}"


def write(folder: str, beat: Beat) -> None:
    """Replace the last beat by *beat*; a reader sees the old one or the new one, never a part.

    Raises:
        OSError: If the folder cannot be written to.
    """
    path = path_in(folder)
    with open(f"{path}.new", "w", encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs a probe 5 ms
        json.dump(beat._asdict(), file)
    os.replace(f"{path}.new", path)  # noqa: PTH105  # as above


def read(folder: str) -> Beat | None:
    """The last beat in *folder*; None if there is none.

    Raises:
        OSError: If the file exists and cannot be read.
        ValueError: If it is no heartbeat, or one of another version.
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
    """What tells the process *pid* from an earlier one with that id (empty if unknown); None if no such process runs.

    Ids are used again: in a container the worker is always process 1, and the file may be of the one before.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # as above
            state, *fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _birth_without_proc(pid)
    return None if state in ("Z", "X") else fields[18]  # proc(5): field 22, ticks from boot to start


def parent_of(pid: int) -> int | None:
    """The process that started *pid*; None if the system does not say, or no such process runs."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # as above
            return int(file.read().rpartition(")")[2].split()[1])  # proc(5): field 4
    except (OSError, ValueError, IndexError):
        return None


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
