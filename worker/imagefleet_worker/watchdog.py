"""Watchdog: ends the process when the device stops answering, so that its jobs go to other workers."""

import faulthandler
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from imagefleet_worker.errors import ExitCode

#: The second line of defence fires from C, for code that never lets go of the interpreter lock; its exit code is 1.
_GRACE_S = 10
_STDERR = 2  # by its number: Celery puts an object of its own in the place of sys.stderr


class Watchdog:
    """Watches the device while at least one job is on it."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._busy = 0
        self._busy_since = 0.0
        self._last_sign = time.monotonic()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        """The device has finished something."""
        self._last_sign = time.monotonic()

    def signs(self) -> tuple[float | None, float]:
        """Since when a job has been on the device (None: none is), and its last sign, in seconds of the same clock."""
        return (self._busy_since if self._busy else None), self._last_sign

    @contextmanager
    def watching(self) -> Generator[None]:
        """Expect a beat at least every `timeout_s` while the block runs."""
        with self._changed:
            self.beat()
            if not self._busy:
                self._busy_since = self._last_sign
            self._busy += 1
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                self.beat()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._busy:
                    faulthandler.cancel_dump_traceback_later()
                    self._changed.wait_for(lambda: self._busy)
            self._look()
            threading.Event().wait(min(1.0, self._timeout_s / 4))

    def _look(self) -> None:
        silent_s = time.monotonic() - self._last_sign
        if silent_s > self._timeout_s:
            faulthandler.dump_traceback(file=_STDERR, all_threads=True)
            os.write(2, f"imagefleet: the device has been silent for {silent_s:.0f} s; ending the process\n".encode())
            os._exit(ExitCode.DEVICE_HUNG)
        remaining = self._timeout_s - silent_s + _GRACE_S
        faulthandler.dump_traceback_later(remaining, exit=True, file=_STDERR)
