"""The baton: of the jobs that are between two forwards, one at a time works on its step.

Each small operator of torch lets go of Python's lock and takes it again. Where 32 threads step their schedulers at once
it changes hands at every operator, and half of the time goes there. One after the other, they lose nothing:
the steps are Python, and the device waits for all of them anyway.
"""

import threading

#: Who keeps the baton for longer, in a callback that waits, say, loses it: nobody is held up by a slow job.
_LONGEST_S = 0.02


class Baton:
    """Held by at most one thread; it may be late, but it comes."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._mine = threading.local()

    def take(self) -> None:
        """Wait until the others have passed it on, or for `_LONGEST_S`, and take it."""
        held = self._free
        if not held.acquire(timeout=_LONGEST_S):
            held = threading.Lock()
            held.acquire()
            self._free = held  # who had the old one passes it on to nobody
        self._mine.held = held

    def pass_on(self) -> None:
        """Let the next one have it; nothing where this thread does not have it."""
        held: threading.Lock | None = getattr(self._mine, "held", None)
        if held is not None:
            self._mine.held = None
            held.release()
