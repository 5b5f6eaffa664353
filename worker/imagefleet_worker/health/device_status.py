"""The device status file: how each device of this machine does, in one file beside the heartbeats of their workers.

Probes read it, so it imports as little as `heartbeat_file`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from imagefleet_worker.health import heartbeat_file
from imagefleet_worker.health.limits import DEFAULT_LIMITS, Limits, ProbeResult

FILE_NAME: Final = "devices.json"


class DeviceStatus(NamedTuple):
    """One device and its worker at one moment."""

    device: str
    #: starting, loading, ready, draining, pausing, stopped, failed or bad.
    state: str
    #: The process that serves the device; None if there is none.
    pid: int | None
    #: How often the worker was restarted.
    restarts: int
    #: The faults that count against the device now.
    faults: int
    #: What the worker reports, or why there is no worker.
    words: str


class DeviceStatusFile(NamedTuple):
    """The content of the file: its writer, the moment of writing (seconds of `time.monotonic`), and the devices."""

    pid: int
    born: str
    at: float
    devices: list[DeviceStatus]


def write(folder: Path, devices: Sequence[DeviceStatus]) -> None:
    """Replace the file by one with *devices*; a reader sees the old file or the new one, never a part.

    Raises:
        OSError: If the folder cannot be written to.
    """
    pid = os.getpid()
    content = DeviceStatusFile(pid, heartbeat_file.birth_of(pid) or "", heartbeat_file.now(), list(devices))
    new = folder / f"{FILE_NAME}.new"
    new.write_text(json.dumps(content._replace(devices=[device._asdict() for device in devices])._asdict()))
    new.replace(folder / FILE_NAME)


def read(folder: str | Path) -> DeviceStatusFile | None:
    """The file in *folder*; None if there is none.

    Raises:
        OSError, ValueError: If the file exists and is no device status file of this version.
    """
    try:
        data: dict[str, Any] = json.loads(Path(folder, FILE_NAME).read_text())
        return DeviceStatusFile(**data)._replace(devices=[DeviceStatus(**each) for each in data["devices"]])
    except FileNotFoundError:
        return None
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from error


def judge(
    probe: str, file: DeviceStatusFile, *, now: float, birth: str | None, limits: Limits = DEFAULT_LIMITS
) -> ProbeResult:
    """The answer to *probe* about all devices; *birth* is what `heartbeat_file.birth_of` says of the writer now.

    The machine is ready if one worker takes jobs. It is live if the process that restarts workers runs, because a
    worker that needs a new process gets one.
    """
    if birth is None or birth != file.born:
        return ProbeResult(is_good=False, words=f"ended: process {file.pid}, which watched the workers, has ended")
    if now - file.at > limits.frozen_s:
        return ProbeResult(is_good=False, words=f"frozen: the workers have not been checked for {now - file.at:.0f} s")
    loaded = [device for device in file.devices if device.state in ("ready", "draining")]
    is_ready = any(device.words.startswith("ready") for device in file.devices)
    is_good = {"live": True, "startup": bool(loaded), "ready": is_ready}[probe]
    return ProbeResult(is_good=is_good, words=as_table(file.devices))


def as_table(devices: Sequence[DeviceStatus]) -> str:
    """A table for people: one line for each device."""
    rows = [("device", "state", "process", "restarts", "faults", ""), *map(_row, devices)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip()
        for row in rows
    )


def _row(status: DeviceStatus) -> tuple[str, str, str, str, str, str]:
    pid = "-" if status.pid is None else str(status.pid)
    return status.device, status.state, pid, str(status.restarts), str(status.faults), status.words
