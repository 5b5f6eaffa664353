"""The device timer: how long the device worked, and how far the loop may run ahead of it."""

import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

import torch

#: Forwards that may be launched and not be done: one runs, one waits behind it.
_MOST_LAUNCHED = 2


class DeviceTimer:
    """Times forwards on *device*.

    A CUDA device works asynchronously: the launch of a forward returns at once, and only an event tells its end. So the
    loop waits before a launch until at most one forward is still to be done; a cancel or a newcomer is never more than
    one forward away.
    """

    def __init__(self, device: torch.device) -> None:
        #: Seconds in forwards whose end is known.
        self.seconds = 0.0
        self._is_cuda = device.type == "cuda"
        self._launched: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def forward(self) -> Generator[None]:
        """One forward is launched within the block."""
        if not self._is_cuda:
            started = time.perf_counter()
            try:
                yield
            finally:
                self.seconds += time.perf_counter() - started
            return
        while len(self._launched) >= _MOST_LAUNCHED:
            self._settle()
        # The loop sleeps until the end: without `blocking` it would spin, on a processor that jobs encode images with.
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True, blocking=True)
        start.record()
        try:
            yield
        finally:
            end.record()
            self._launched.append((start, end))

    def _settle(self) -> None:
        start, end = self._launched.popleft()
        end.synchronize()
        self.seconds += start.elapsed_time(end) / 1000
