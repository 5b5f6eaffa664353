"""Tries: one request to S3, repeated after growing pauses if another try may help."""

import itertools
import random
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from imagefleet_worker.errors import StorageUnavailable

T = TypeVar("T")

_LONGEST_PAUSE_S: Final = 20.0


def no_check() -> None:
    """Nothing keeps a request from being sent."""


def with_tries(call: Callable[[], T], *, most: int, before: Callable[[], None] = no_check) -> T:
    """The result of *call*, tried at most *most* times.

    *before* is called before each try, because the answer to a try may take long; what it raises ends the tries.

    Raises:
        StorageUnavailable: If the last try has failed.
    """
    for failures in itertools.count(1):
        before()
        try:
            return call()
        except StorageUnavailable:
            if failures >= most:
                raise
        pause_s = random.uniform(0, 1) * min(2.0 ** (failures - 1), _LONGEST_PAUSE_S)  # noqa: S311  # no secret
        threading.Event().wait(pause_s)
    raise AssertionError("the loop above has no end")
