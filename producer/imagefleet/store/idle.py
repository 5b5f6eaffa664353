"""Idle objects: what one process has open and does not use now, the last used first."""

import os
from collections import deque
from typing import Generic, TypeVar

P = TypeVar("P")


class Idle(Generic[P]):
    """Objects with a socket each; threads may share this."""

    def __init__(self) -> None:
        self._objects: deque[P] = deque()
        self._pid = os.getpid()

    def put(self, each: P) -> None:
        """Keep *each* for the next one who needs it."""
        self._objects.append(each)

    def take(self) -> P | None:
        """The object that was put last, or None."""
        if self._pid != os.getpid():  # after a fork the sockets belong to the parent, too
            self._objects, self._pid = deque(), os.getpid()
        try:
            return self._objects.pop()
        except IndexError:
            return None
