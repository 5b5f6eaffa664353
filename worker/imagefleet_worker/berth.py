"""A berth: one device of this machine and the worker process that serves it now, over all its restarts."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from imagefleet_worker import beats, health
from imagefleet_worker.accelerators import Seat
from imagefleet_worker.beats import Beat
from imagefleet_worker.children import Child
from imagefleet_worker.errors import ExitCode
from imagefleet_worker.restarts import Restarts
from imagefleet_worker.roll import Entry
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)

_COMMAND: Final = (sys.executable, "-m", "celery", "-A", "imagefleet_worker.app", "worker")


@dataclass(frozen=True, slots=True)
class Fittings:
    """What the worker of a berth is started with, besides its device."""

    settings: Settings
    #: Options for `celery worker`.
    options: Sequence[str]
    #: Where heartbeats are written, each in a folder by the name of the seat.
    health: Path
    #: Its place among the berths; metrics are served on the port so much higher.
    index: int


class Berth:
    """Starts the worker of *seat*, and again when it ends, for as long as that makes sense."""

    def __init__(self, seat: Seat, *, fittings: Fittings) -> None:
        self.seat = seat
        #: How its worker ended last; None where none has.
        self.exit_code: int | None = None
        self._fittings = fittings
        self._restarts = Restarts(fittings.settings.devices)
        self._child: Child | None = None
        self._starts = 0
        self._due_at: float | None = 0.0
        self._is_closing = False
        self._state, self._reason = "starting", ""

    @property
    def pid(self) -> int | None:
        """The process that serves it now; None where none does."""
        return self._child.pid if self._child else None

    @property
    def is_over(self) -> bool:
        """Whether no worker runs, and none will be started."""
        return self._child is None and self._due_at is None

    def tend(self) -> None:
        """Note an end, start what is due, and end a process that only a restart can help."""
        if self._child is not None and self._child.exit_code is not None:
            self._note_end(self._child.pid, self._child.exit_code)
        elif self._child is not None:
            self._look_at(self._child)
        elif self._due_at is not None and beats.now() >= self._due_at:
            self._start()

    def close(self, number: signal.Signals) -> None:
        """Send its worker the signal *number* and start no other."""
        self._is_closing, self._due_at = True, None
        if self._child is not None:
            self._child.send(number)
            return
        self.exit_code = ExitCode.OK
        if self._state in ("starting", "pausing"):
            self._state = "stopped"

    def entry(self) -> Entry:
        """How it does."""
        beat = self._beat()
        state, words = self._state, self._reason
        if beat is not None:
            state, words = beat.state, health.judge("ready", beat, now=beats.now(), birth=beat.born).words
        return Entry(self.seat.name, state, self.pid, max(self._starts - 1, 0), self._restarts.faults, words)

    def _start(self) -> None:
        name = self.seat.name
        command = [*_COMMAND, "-n", f"{name}@%h", *self._fittings.options]
        self._child = Child(name, command, log=None, env=self._environment())
        self._starts += 1
        self._due_at, self._state = None, "starting"
        log.info("worker started", worker=name, process=self._child.pid)

    def _environment(self) -> dict[str, str]:
        port = self._fittings.settings.metrics.port
        own = {
            **self.seat.env,
            health.FOLDER_VARIABLE: str(self._fittings.health / self.seat.name),
            "IMAGEFLEET_METRICS_PORT": str(port and port + self._fittings.index),
            "IMAGEFLEET_WORKER_LOG_LABEL": self.seat.name,
        }
        if threads := self._fittings.settings.engine.threads:  # whoever set it knows better
            own["IMAGEFLEET_ENGINE_THREADS"] = str(threads)
        return {**os.environ, **own}

    def _note_end(self, pid: int, exit_code: int) -> None:
        served_s = self._served_s()
        self._child, self.exit_code = None, exit_code
        if self._is_closing:
            if exit_code in (-signal.SIGTERM, -signal.SIGQUIT):  # it was still loading
                self.exit_code = ExitCode.OK
            self._state, self._reason = "stopped", f"ended with {exit_code}"
            log.info("worker ended", worker=self.seat.name, process=pid, exit_code=exit_code)
            return
        verdict = self._restarts.after(exit_code, served_s=served_s, now=beats.now())
        self._state, self._reason = verdict.state, f"ended with {exit_code}: {verdict.reason}"
        self._due_at = None if verdict.pause_s is None else beats.now() + verdict.pause_s
        log.warning("worker ended", worker=self.seat.name, process=pid, exit_code=exit_code, then=verdict.reason)

    def _look_at(self, child: Child) -> None:
        beat = self._beat()
        if beat is None or self._is_closing:
            return
        verdict = health.judge("live", beat, now=beats.now(), birth=beat.born)
        if not verdict.is_good:
            log.error("worker killed: only a new one can help", worker=child.name, process=child.pid, why=verdict.words)
            child.send(signal.SIGKILL)

    def _served_s(self) -> float:
        beat = self._beat()
        return beat.at - beat.state_since if beat is not None and beat.state != "loading" else 0.0

    def _beat(self) -> Beat | None:
        """The last sign of life of the process that runs now; None before its first."""
        try:
            beat = beats.read(str(self._fittings.health / self.seat.name))
        except (OSError, ValueError):  # a file of another version, or none that can be read: as good as none
            return None
        return beat if beat is not None and beat.pid == self.pid else None
