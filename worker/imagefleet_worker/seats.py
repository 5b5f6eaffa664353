"""Seats: what the meeting point knows of one job in its denoising loop, and where its thread sleeps."""

import threading
from collections.abc import Callable, Hashable

import torch

Keys = tuple[Hashable, ...]
_MOST_DIGESTS = 64


class Seat:
    """One job at the meeting point. Only its own thread and the holder of the meeting point's lock change it."""

    def __init__(self, *, pixels: int, on_call: Callable[[], None]) -> None:
        #: Called by its own thread before each of its calls; what it raises ends the job.
        self.on_call = on_call
        #: Of each of its images.
        self.pixels = pixels
        self.is_waiting = False
        #: Its call is done, and it is the one that may work on its step.
        self.has_turn = False
        self.is_asleep = False
        #: The others have waited for its next call long enough.
        self.is_late = False
        self._bell = threading.Lock()  # free while it rings
        self._bell.acquire()
        self._last: Keys | None = None
        self._after: dict[Keys, Keys] = {}
        self._digests: dict[Hashable, tuple[torch.Tensor, Hashable]] = {}

    def arrive(self, keys: Keys) -> None:
        """Note a call, and what kind of call came before it: many pipelines alternate between two kinds."""
        if self._last is not None:
            self._after[self._last] = keys
        self._last = keys
        self.is_waiting, self.has_turn = True, False

    def may_bring(self, key: Hashable) -> bool:
        """Whether this job is about to make a call that could be joined with those of *key*."""
        if self.is_waiting or self.is_late:
            return False
        expected = self._after.get(self._last) if self._last is not None else None
        return expected is None or key in expected

    def sleep(self, lock: threading.Lock, *, timeout_s: float) -> None:
        """Give the meeting point's *lock* back until `wake`, for at most *timeout_s*, or for ever if that is -1."""
        self.is_asleep = True
        lock.release()
        try:
            self._bell.acquire(timeout=timeout_s)
        finally:
            lock.acquire()
            if not self.is_asleep:
                self._bell.acquire(blocking=False)  # it was rung in the very moment in which the time was over
            self.is_asleep = False

    def wake(self) -> None:
        """Wake its thread, if that sleeps, once; with the meeting point's lock held."""
        if self.is_asleep:
            self.is_asleep = False
            self._bell.release()

    def digest(self, tensor: torch.Tensor) -> Hashable:
        """The values of *tensor* as something that can be compared; worked out once where writes show."""
        if tensor.is_inference():  # a write into it leaves no mark
            return _value(tensor)
        base = tensor if tensor._base is None else tensor._base  # noqa: SLF001  # a view is a new object at each step
        mark = (id(base), tensor.data_ptr(), tuple(tensor.shape), base._version)  # noqa: SLF001  # rises when written to
        known = self._digests.get(mark)
        if known is None:
            if len(self._digests) >= _MOST_DIGESTS:
                self._digests.clear()
            known = self._digests[mark] = (base, _value(tensor))  # held, so that its id stays its own
        return known[1]


def _value(tensor: torch.Tensor) -> Hashable:
    raw = tensor.detach().cpu().contiguous()
    return (tensor.shape, raw.dtype, raw.flatten().view(torch.uint8).numpy().tobytes())
