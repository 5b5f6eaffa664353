"""Device groups on CPUs: their processes, started as the documentation says."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from tests.support.fleet.fleet import Fleet
from tests.support.fleet.processes import clean_environment

from imagefleet_worker.supervision.child_process import ChildProcess

MODULE = ("-m", "imagefleet_worker.group")


def group_environment(kind: str, *, timeout_s: float = 5) -> dict[str, str]:
    """The variables of a group."""
    return {"IMAGEFLEET_GROUP_KIND": kind, "IMAGEFLEET_GROUP_TIMEOUT_S": str(timeout_s)}


def start_group(
    fleet: Fleet, env: Mapping[str, str], *, name: str = "group", launcher: Sequence[str] | None = None
) -> ChildProcess:
    """Start a group of two ranks by *launcher*, or by its own command, and do not wait."""
    command = [*launcher, *MODULE] if launcher else [sys.executable, *MODULE, "--size", "2"]
    return ChildProcess(
        name,
        [*command, "-n", f"{name}@%h"],
        log=fleet.folder / f"{name}.log",
        env={**clean_environment(), **fleet.environment(env)},
    )


def program(name: str) -> str:
    """A program of this Python's environment."""
    return str(Path(sys.executable).with_name(name))


def ranks(group: ChildProcess) -> dict[int, psutil.Process]:
    """The running processes of *group* by their rank."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.Process(group.pid).children(recursive=True):
        try:
            rank = process.environ().get("RANK")
            if rank is not None and any("imagefleet_worker.group" in word for word in process.cmdline()):
                found[int(rank)] = process
        except psutil.Error:  # it ended just now
            continue
    return found


def has_ended(process: psutil.Process) -> bool:
    """Whether *process* is no more."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def end_group(group: ChildProcess, processes: Mapping[int, psutil.Process]) -> None:
    """End *group* and whatever is left of its *processes*."""
    group.stop(30)
    for process in processes.values():
        if not has_ended(process):
            process.kill()
