"""Draining: how a worker ends. It claims no more jobs, finishes what fits, and gives back the rest."""

import contextlib
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
    #: How long Redis may take nothing while `give_back` runs, in seconds: a command to a Redis that hangs fails only
    #: after several timeouts.
    most_silence_s: float
    #: Removes the process from the registry of workers; called before this module ends the process.
    unregister: Callable[[], None]

    def begin(self) -> None:
        """Claim no more jobs, and return; a thread gives back what has not begun, and later what is late."""
        threading.Thread(target=self._run, name="drain", daemon=True).start()

    def give_back(self, *, code: ExitCode = ExitCode.OK, sentence: str = "") -> NoReturn:
        """Give back every message, and end the process now with *code*, and a *sentence* if something is wrong."""
        watching = threading.Thread(target=self._end_at_silence, args=(code, sentence), name="drain-end", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads: then without it
            watching.start()
        self.leases.stop_claiming()
        count = self.leases.give_back_all(on_taken=self.attempts.mark_all_lost)
        log.warning("gave back what was running", jobs=count)
        self.unregister()
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # its reader may be gone; a signal handler flushes
            sys.stderr.flush()
        self._end(code, sentence)

    def _end_at_silence(self, code: ExitCode, sentence: str) -> None:
        """End the process when Redis has taken nothing for `most_silence_s` to twice as long."""
        heard = -1
        while (sent := self.leases.ends_sent()) != heard:
            heard = sent
            time.sleep(self.most_silence_s)
        self._end(code, sentence)

    def _end(self, code: ExitCode, sentence: str) -> NoReturn:
        late = "Redis did not take back all jobs; other workers take them over when the leases run out"
        sentences = [sentence, late if self.leases.ends_unsent() or self.leases.count() else ""]
        try:
            if said := "; ".join(filter(None, sentences)):
                _write(said)
        finally:
            os._exit(code)

    def _run(self) -> None:
        ends_at = time.monotonic() + self.seconds
        self.heartbeat.draining()
        self.leases.stop_claiming()
        waiting = self.leases.give_back_waiting()  # at once: whoever stops us may not wait for the running ones
        running = len(self.attempts.running())
        hint = "press Ctrl-C again to hand them back at once"
        jobs = f"{running} job{'' if running == 1 else 's'}"
        _write(f"draining, {jobs} running, at most {self.seconds:g} s; {hint}")
        self.leases.device_entries.clear()
        log.info("draining", running=running, gave_back=waiting, seconds=self.seconds)
        if not self.attempts.wait_until_idle(ends_at - time.monotonic()):
            self.give_back()


def _write(sentence: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"imagefleet: {sentence}\n".encode())
