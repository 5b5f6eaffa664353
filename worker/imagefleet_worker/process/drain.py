"""Draining: how a worker ends. It claims no more jobs, finishes what fits, and gives back the rest."""

import os
import sys
import threading
import time
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
    #: How long `give_back` may take, in seconds: a command to a Redis that hangs fails after several timeouts.
    give_back_s: float
    #: Removes the process from the registry of workers; called before this module ends the process.
    unregister: Callable[[], None]

    def begin(self) -> None:
        """Claim no more jobs, and return; a thread gives back what has not begun, and later what is late."""
        threading.Thread(target=self._run, name="drain", daemon=True).start()

    def give_back(self, *, code: ExitCode = ExitCode.OK, sentence: str = "") -> NoReturn:
        """Give back every message, and end the process now with *code*, and a *sentence* if something is wrong."""
        late = f"Redis did not take back all jobs within {self.give_back_s:g} s; other workers take them over later"
        timer = threading.Timer(self.give_back_s, _end, (code, f"{sentence}; {late}" if sentence else late))
        timer.daemon = True
        timer.start()
        self.leases.stop_claiming()
        count = self.leases.give_back_all(on_taken=self.attempts.mark_all_lost)
        log.warning("gave back what was running", jobs=count)
        self.unregister()
        sys.stderr.flush()
        _end(code, sentence)

    def _run(self) -> None:
        ends_at = time.monotonic() + self.seconds
        self.heartbeat.draining()
        self.leases.stop_claiming()
        running = len(self.attempts.running())
        hint = "press Ctrl-C again to hand them back at once"
        jobs = f"{running} job{'' if running == 1 else 's'}"
        os.write(2, f"imagefleet: draining, {jobs} running, at most {self.seconds:g} s; {hint}\n".encode())
        self.leases.device_entries.clear()
        waiting = self.leases.give_back_waiting()  # at once: whoever stops us may not wait for the running ones
        log.info("draining", running=running, gave_back=waiting, seconds=self.seconds)
        if not self.attempts.wait_until_idle(ends_at - time.monotonic()):
            self.give_back()


def _end(code: ExitCode, sentence: str) -> NoReturn:
    if sentence:
        os.write(2, f"imagefleet: {sentence}\n".encode())
    os._exit(code)
