"""The roll: how each device of this machine does, in one small file beside the heartbeats of their workers.

As light as `beats`, and for the same reason: probes read it.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from imagefleet_worker import beats
from imagefleet_worker.health import DEFAULT_LIMITS, Limits, Verdict

FILE_NAME: Final = "devices.json"


class Entry(NamedTuple):
    """What there is to say about one device at one moment."""

    device: str
    #: starting, loading, ready, draining, pausing, stopped, failed or bad.
    state: str
    #: The process that serves it; None where none does.
    pid: int | None
    #: How often its worker was started again.
    restarts: int
    #: The faults that count against the device now.
    faults: int
    #: What its worker says of itself, or why there is none.
    words: str


class Roll(NamedTuple):
    """The file: who wrote it, when (seconds of `time.monotonic`), and what."""

    pid: int
    born: str
    at: float
    devices: list[Entry]


def write(folder: Path, entries: Sequence[Entry]) -> None:
    """Put *entries* in the place of the last ones; a reader sees one or the other, never a part.

    Raises:
        OSError: where the folder cannot be written to.
    """
    pid = os.getpid()
    content = Roll(pid, beats.birth_of(pid) or "", beats.now(), list(entries))
    new = folder / f"{FILE_NAME}.new"
    new.write_text(json.dumps(content._replace(devices=[entry._asdict() for entry in entries])._asdict()))
    new.replace(folder / FILE_NAME)


def read(folder: str | Path) -> Roll | None:
    """The last roll in *folder*; None where there is none.

    Raises:
        OSError, ValueError: where the file is there, and is no roll of this version.
    """
    try:
        data: dict[str, Any] = json.loads(Path(folder, FILE_NAME).read_text())
        return Roll(**data)._replace(devices=[Entry(**each) for each in data["devices"]])
    except FileNotFoundError:
        return None
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error


def judge(probe: str, roll: Roll, *, now: float, birth: str | None, limits: Limits = DEFAULT_LIMITS) -> Verdict:
    """The answer to *probe* about all devices; *birth* is what `beats.birth_of` says about the roll's process now.

    One worker that takes jobs is enough to be ready. A worker that needs a new process gets one, so for `live` it is
    enough that the process that would start it is there.
    """
    if birth is None or birth != roll.born:
        return Verdict(is_good=False, words=f"ended: process {roll.pid}, which watched the workers, is no more")
    if now - roll.at > limits.frozen_s:
        return Verdict(is_good=False, words=f"frozen: nobody has looked at the workers for {now - roll.at:.0f} s")
    loaded = [entry for entry in roll.devices if entry.state in ("ready", "draining")]
    is_ready = any(entry.words.startswith("ready") for entry in roll.devices)
    is_good = {"live": True, "startup": bool(loaded), "ready": is_ready}[probe]
    return Verdict(is_good=is_good, words=as_table(roll.devices))


def as_table(entries: Sequence[Entry]) -> str:
    """For people: a line for each device."""
    rows = [("device", "state", "process", "restarts", "faults", ""), *map(_row, entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip()
        for row in rows
    )


def _row(entry: Entry) -> tuple[str, str, str, str, str, str]:
    pid = "-" if entry.pid is None else str(entry.pid)
    return entry.device, entry.state, pid, str(entry.restarts), str(entry.faults), entry.words
