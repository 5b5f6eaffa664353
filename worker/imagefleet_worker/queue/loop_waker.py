"""The loop waker: lets any thread wake Celery's event loop, which claims."""

from typing import Any


class LoopWaker:
    """Wakes the loop that was attached last; does nothing before there is one."""

    def __init__(self) -> None:
        self._loop: Any = None

    def attach(self, loop: Any) -> None:
        """Wake *loop* from now on; Celery makes another one when it connects again."""
        self._loop = loop

    def wake(self) -> None:
        """Let the loop turn once."""
        if self._loop is not None:
            self._loop.call_soon(_nothing)


def _nothing() -> None:
    """A turn of the loop is all that is needed."""
