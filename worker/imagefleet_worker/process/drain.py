"""Draining: how a worker ends. It claims no more jobs, finishes what fits, and gives back the rest."""

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.health.heartbeat import Heartbeat
from imagefleet_worker.jobs.running import RunningAttempts
from imagefleet_worker.queue.leases import Leases

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Drain:
    """The end of one process."""

    leases: Leases
    attempts: RunningAttempts
    heartbeat: Heartbeat
    #: How long running jobs may go on, in seconds.
    seconds: float
    #: Removes the process from the registry of workers; called before this module ends the process.
    unregister: Callable[[], None]

    def begin(self) -> None:
        """Claim no more jobs, and return; a thread gives back what has not begun, and later what is late."""
        threading.Thread(target=self._run, name="drain", daemon=True).start()

    def give_back(self, *, code: ExitCode = ExitCode.OK, sentence: str = "") -> NoReturn:
        """Give back every message, and end the process now with *code*, and a *sentence* if something is wrong."""
        self.leases.stop_claiming()
        count = self.leases.give_back_all(on_taken=self.attempts.mark_all_lost)
        log.warning("gave back what was running", jobs=count)
        self.unregister()
        sys.stderr.flush()
        if sentence:
            os.write(2, f"imagefleet: {sentence}\n".encode())
        os._exit(code)

    def _run(self) -> None:
        self.heartbeat.draining()
        self.leases.stop_claiming()
        self.leases.device_entries.clear()
        waiting = self.leases.give_back_waiting()  # at once: whoever stops us may not wait for the running ones
        running = len(self.attempts.running())
        log.info("draining", running=running, gave_back=waiting, seconds=self.seconds)
        hint = "press Ctrl-C again to hand them back at once"
        jobs = f"{running} job{'' if running == 1 else 's'}"
        os.write(2, f"imagefleet: draining, {jobs} running, at most {self.seconds:g} s; {hint}\n".encode())
        if not self.attempts.wait_until_idle(self.seconds):
            self.give_back()
