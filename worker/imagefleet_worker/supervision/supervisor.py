"""`Supervisor`: the worker processes of one machine, started, watched, restarted and ended together."""

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from imagefleet.errors import reason_of
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.health import device_status, heartbeat_file
from imagefleet_worker.settings import DevicesSettings
from imagefleet_worker.supervision.device_worker import DeviceWorker, LaunchOptions, WorkerEnd

log = structlog.get_logger(__name__)

#: Seconds that a worker may need after its drain, for files, uploads and the end of the interpreter; then it is killed.
_GRACE_S: Final = 15.0
_WRITE_EVERY_S: Final = 1.0
#: The first signal lets jobs end, the second hands them back.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGQUIT)


class Supervisor:
    """A worker for each of *launches*, from the first `poll` until `is_over`.

    Not safe to use from several threads: workers end with the thread that started them.
    """

    def __init__(
        self, launches: Sequence[LaunchOptions], *, restarts: DevicesSettings, drain_s: float, health: Path
    ) -> None:
        """Prepare the workers.

        Args:
            launches: One for each worker.
            restarts: When a worker that ended is restarted.
            drain_s: Seconds that the workers give their jobs to end; a worker that takes longer is killed.
            health: The folder for heartbeats and for the status of all devices; it must exist.
        """
        self._health = health
        self._drain_s = drain_s
        self._drains = 0
        self._written_at = 0.0
        self._kill_at = float("inf")
        self._workers = [DeviceWorker(launch, restarts=restarts, health=health) for launch in launches]

    @property
    def is_over(self) -> bool:
        """Whether no worker runs, and none will be started."""
        return all(worker.is_over for worker in self._workers)

    @property
    def not_ready(self) -> list[str]:
        """The names of the workers that take no jobs now, by their heartbeats."""
        return [worker.name for worker in self._workers if not worker.is_ready]

    @property
    def exit_code(self) -> int:
        """The exit code for this process: that of the first worker that did not end as it was asked."""
        codes = [worker.exit_code for worker in self._workers]
        # A signal's negative number means nothing to a shell.
        return next((code if code > 0 else int(ExitCode.INTERNAL_ERROR) for code in codes if code), int(ExitCode.OK))

    def poll(self) -> list[WorkerEnd]:
        """Start, restart and kill what is due, and return what has ended; call it several times a second."""
        ends = [end for worker in self._workers if (end := worker.poll())]
        self._reap_orphans()
        if heartbeat_file.now() > self._kill_at:
            self._kill()
        self._write_status()
        return ends

    def statuses(self) -> list[device_status.DeviceStatus]:
        """The state of each device."""
        return [worker.status() for worker in self._workers]

    def drain(self) -> None:
        """Let the workers finish their jobs and start none again; the second time, have them hand back their jobs."""
        number = _SIGNALS[min(self._drains, len(_SIGNALS) - 1)]
        if not self._drains:
            self._kill_at = heartbeat_file.now() + self._drain_s + _GRACE_S
        self._drains += 1
        for worker in self._workers:
            worker.stop(number)

    def _write_status(self) -> None:
        if self._written_at and heartbeat_file.now() - self._written_at < _WRITE_EVERY_S and not self.is_over:
            return
        self._written_at = heartbeat_file.now()
        try:
            device_status.write(self._health, self.statuses())
        except OSError as error:  # the next try may succeed; probes report if none does
            log.warning("device status not written", folder=str(self._health), error=reason_of(error))

    def _kill(self) -> None:
        self._kill_at = float("inf")
        log.error("workers killed: they did not end within their drain")
        for worker in self._workers:
            worker.stop(signal.SIGKILL)

    def _reap_orphans(self) -> None:
        """Collect ended processes that this one did not start: process 1 of a container inherits them."""
        if os.getpid() != 1:
            return
        ours = {worker.pid for worker in self._workers}
        with contextlib.suppress(ChildProcessError):  # there are none
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid in ours:  # its `DeviceWorker` collects it
                    return
                os.waitpid(found.si_pid, 0)
