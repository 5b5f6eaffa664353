"""Watchdog: ends the process when the device stops answering, so that its jobs go to other workers."""

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from imagefleet_worker.exit_codes import ExitCode

#: The second line of defence fires from C, for code that never lets go of the interpreter lock; its exit code is 1.
_GRACE_S = 10
_STDERR = 2  # by its number: Celery puts an object of its own in the place of sys.stderr


class Watchdog:
    """Watches the device while at least one job is on it."""

    def __init__(self, timeout_s: float, *, on_hang: Callable[[str], None] = lambda _sentence: None) -> None:
        """End the process if the device is silent for *timeout_s*, and before that call *on_hang* with a sentence."""
        self._timeout_s = timeout_s
        self._on_hang = on_hang
        self._changed = threading.Condition()
        self._busy = 0
        self._busy_since = 0.0
        self._last_sign = time.monotonic()
        self._is_stopped = False

    def start(self) -> None:
        """Watch, in a thread of its own."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more; the process is not ended any more for what the device does."""
        with self._changed:
            self._is_stopped = True
            faulthandler.cancel_dump_traceback_later()
            self._changed.notify()

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
                    self._changed.wait_for(lambda: self._busy or self._is_stopped)
                if self._is_stopped:
                    return
                self._look()
            threading.Event().wait(min(1.0, self._timeout_s / 4))

    def _look(self) -> None:
        silent_s = time.monotonic() - self._last_sign
        if silent_s > self._timeout_s:
            faulthandler.dump_traceback(file=_STDERR, all_threads=True)
            sentence = f"the device has been silent for {silent_s:.0f} s; ending the process"
            os.write(2, f"imagefleet: {sentence}\n".encode())
            self._on_hang(sentence)
            os._exit(ExitCode.DEVICE_HUNG)
        remaining = self._timeout_s - silent_s + _GRACE_S
        faulthandler.dump_traceback_later(remaining, exit=True, file=_STDERR)
