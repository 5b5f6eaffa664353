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
    #: How long `give_back` may take for one message, in seconds: a command to a Redis that hangs fails only after
    #: several timeouts.
    most_silence_s: float
    #: Removes the process from the registry of workers; called before this module ends the process.
    unregister: Callable[[], None]

    def begin(self) -> None:
        """Claim no more jobs, and return; a thread gives back what has not begun, and later what is late."""
        threading.Thread(target=self._run, name="drain", daemon=True).start()

    def give_back(self, *, code: ExitCode = ExitCode.OK, sentence: str = "") -> NoReturn:
        """Give back every message, and end the process now with *code*, and a *sentence* if something is wrong."""
        silence = _Silence(self.most_silence_s, code=code, sentence=sentence)
        self.leases.stop_claiming()
        count = self.leases.give_back_all(on_taken=self.attempts.mark_all_lost, on_returned=silence.broken)
        silence.are_given_back = True
        silence.broken()
        log.warning("gave back what was running", jobs=count)
        self.unregister()
        with contextlib.suppress(OSError, ValueError):  # whoever read it may be gone
            sys.stderr.flush()
        _end(code, sentence)

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


class _Silence:
    """Ends the process with *code* if nothing has broken the silence for *seconds*: Redis hangs."""

    def __init__(self, seconds: float, *, code: ExitCode, sentence: str) -> None:
        self.are_given_back = False
        self._seconds, self._code, self._sentence = seconds, code, sentence
        self._broken = threading.Event()
        thread = threading.Thread(target=self._watch, name="drain-silence", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads: then without it
            thread.start()

    def broken(self) -> None:
        """Redis has taken something: count anew."""
        self._broken.set()

    def _watch(self) -> None:
        while self._broken.wait(self._seconds):
            self._broken.clear()
        late = f"Redis did not take back all jobs within {self._seconds:g} s; other workers take them over later"
        sentences = [self._sentence, "" if self.are_given_back else late]
        _end(self._code, "; ".join(filter(None, sentences)))


def _end(code: ExitCode, sentence: str) -> NoReturn:
    try:
        if sentence:
            _write(sentence)
    finally:
        os._exit(code)


def _write(sentence: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"imagefleet: {sentence}\n".encode())
