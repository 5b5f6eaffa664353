"""Waiting for facts instead of sleeping."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Fact = TypeVar("Fact")


def wait_until(predicate: Callable[[], Fact], timeout_s: float = 10, *, every_s: float = 0.02) -> Fact:
    """Call *predicate* until it returns something true, and return that.

    Raises:
        AssertionError: where nothing true has come within *timeout_s*.
    """
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        if fact := predicate():
            return fact
        if time.monotonic() > deadline:
            what = getattr(predicate, "__doc__", None) or getattr(predicate, "__qualname__", repr(predicate))
            raise AssertionError(f"not so within {timeout_s} s: {what}")
        pause.wait(every_s)
