"""`DeviceWorker`: one device of this machine and the worker process that serves it, over all its restarts."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.health import heartbeat_file, probes
from imagefleet_worker.health.device_status import DeviceStatus
from imagefleet_worker.health.heartbeat_file import Beat
from imagefleet_worker.settings import DevicesSettings
from imagefleet_worker.supervision.celery_command import group_command, worker_command
from imagefleet_worker.supervision.child_process import ChildProcess
from imagefleet_worker.supervision.restart_policy import RestartPolicy

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How a worker process is started."""

    #: The name of its device.
    name: str
    #: All variables of the process, except the folder of its heartbeat.
    env: Mapping[str, str]
    #: Options of `celery worker`.
    options: Sequence[str] = ()
    #: Where its outputs go; None: to the outputs of this process.
    log: Path | None = None
    #: Whether it is a device group, which has a command of its own.
    is_group: bool = False


class WorkerEnd(NamedTuple):
    """The end of a worker process that nobody asked for."""

    #: The name of its device.
    name: str
    exit_code: int
    #: Whether it is restarted, as a sentence.
    reason: str
    #: The last lines of its log; empty if it has none.
    log_tail: str


class DeviceWorker:
    """Starts the worker of one device, and restarts it as the policy says."""

    def __init__(self, launch: LaunchOptions, *, restarts: DevicesSettings, health: Path) -> None:
        """Prepare a worker that writes its heartbeat into a folder of its own below *health*."""
        self.name = launch.name
        #: How its last process ended; None if none has.
        self.exit_code: int | None = None
        self._launch = launch
        self._policy = RestartPolicy(restarts)
        self._health = health / launch.name
        self._child: ChildProcess | None = None
        self._starts = 0
        self._due_at: float | None = 0.0
        self._is_stopping = False
        self._state, self._reason = "starting", ""

    @property
    def pid(self) -> int | None:
        """The process that serves the device now; None if there is none."""
        return self._child.pid if self._child else None

    @property
    def is_over(self) -> bool:
        """Whether no process runs, and none will be started."""
        return self._child is None and self._due_at is None

    @property
    def is_ready(self) -> bool:
        """Whether its process takes jobs, by its heartbeat."""
        beat = self._beat()
        return beat is not None and probes.judge("ready", beat, now=heartbeat_file.now(), birth=beat.born).is_good

    def poll(self) -> WorkerEnd | None:
        """Start the process if it is due, kill it if only a new one can help, and return its end if it has ended."""
        if self._child is None:
            if self._due_at is not None and heartbeat_file.now() >= self._due_at:
                self._start()
            return None
        if self._child.exit_code is not None:
            return self._note_end(self._child, self._child.exit_code)
        self._kill_if_stuck(self._child)
        return None

    def stop(self, number: signal.Signals) -> None:
        """Send its process the signal *number*, and start no other."""
        self._is_stopping, self._due_at = True, None
        if self._child is not None:
            self._child.send(number)
            return
        self.exit_code = ExitCode.OK
        if self._state in ("starting", "pausing"):
            self._state = "stopped"

    def status(self) -> DeviceStatus:
        """Its state now, for people and probes."""
        beat = self._beat()
        state, words = self._state, self._reason
        if beat is not None:
            state, words = beat.state, probes.judge("ready", beat, now=heartbeat_file.now(), birth=beat.born).words
        return DeviceStatus(self.name, state, self.pid, max(self._starts - 1, 0), self._policy.faults, words)

    def _start(self) -> None:
        command = group_command if self._launch.is_group else worker_command
        self._child = ChildProcess(
            self.name,
            command(self.name, self._launch.options),
            log=self._launch.log,
            env={**self._launch.env, probes.FOLDER_VARIABLE: str(self._health)},
        )
        self._starts += 1
        self._due_at, self._state = None, "starting"
        log.info("worker started", worker=self.name, process=self._child.pid)

    def _note_end(self, child: ChildProcess, exit_code: int) -> WorkerEnd | None:
        served_s = self._served_s()
        self._child, self.exit_code = None, exit_code
        if self._is_stopping:
            if exit_code in (-signal.SIGTERM, -signal.SIGQUIT):  # it was still loading
                self.exit_code = ExitCode.OK
            self._state, self._reason = "stopped", f"ended with {exit_code}"
            log.info("worker ended", worker=self.name, process=child.pid, exit_code=exit_code)
            return None
        decision = self._policy.after(exit_code, served_s=served_s, now=heartbeat_file.now())
        self._state, self._reason = decision.state, f"ended with {exit_code}: {decision.reason}"
        self._due_at = None if decision.pause_s is None else heartbeat_file.now() + decision.pause_s
        log.warning("worker ended", worker=self.name, process=child.pid, exit_code=exit_code, then=decision.reason)
        return WorkerEnd(self.name, exit_code, decision.reason, child.log_tail())

    def _kill_if_stuck(self, child: ChildProcess) -> None:
        beat = self._beat()
        if beat is None or self._is_stopping:
            return
        answer = probes.judge("live", beat, now=heartbeat_file.now(), birth=beat.born)
        if not answer.is_good:
            log.error("worker killed: only a new one can help", worker=child.name, process=child.pid, why=answer.words)
            child.send(signal.SIGKILL)

    def _served_s(self) -> float:
        beat = self._beat()
        return beat.at - beat.state_since if beat is not None and beat.state != "loading" else 0.0

    def _beat(self) -> Beat | None:
        """The last heartbeat of the process that runs now; None before its first."""
        try:
            beat = heartbeat_file.read(str(self._health))
        except (OSError, ValueError):  # unreadable, or of another version: as good as none
            return None
        if beat is None or self.pid is None:
            return None
        # The leader of a device group is a child of the process that was started here.
        is_ours = beat.pid == self.pid or (self._launch.is_group and heartbeat_file.parent_of(beat.pid) == self.pid)
        return beat if is_ours else None
