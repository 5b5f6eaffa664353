"""One job's way over the device, and its outcome."""

from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from typing import Any

import torch

from imagefleet_worker.batching.finite import all_finite
from imagefleet_worker.batching.tensor_digests import TensorDigests


class RunState(IntEnum):
    """How far a run is; it only moves forward."""

    WAITING = 0
    """It is not on the device yet."""
    ENCODING = 1
    """Its prompt is encoded, and whatever else comes before the first step."""
    DENOISING = 2
    DECODING = 3
    """Its last step is done: the next job may denoise."""
    DONE = 4


class DeviceRun:
    """One job on the device: *work* is called in the device loop's thread, `result` by the thread that wants it.

    *cost* is rows times pixels of its calls, *pixels* are those of each of its images. A run with a *concurrency_limit*
    of n is on the device with n - 1 other runs at most; None: any number. *on_call* is called before each call
    of the denoiser; what it raises ends the run.
    """

    def __init__(
        self,
        work: Callable[["DeviceRun"], Any],
        *,
        cost: int,
        pixels: int,
        concurrency_limit: int | None = None,
        on_call: Callable[[], None] | None = None,
    ) -> None:
        self.work = work
        self.cost = cost
        self.pixels = pixels
        self.concurrency_limit = concurrency_limit
        self.on_call = on_call
        self.state = RunState.WAITING
        #: Its last step runs, or is done: the worker may claim another job.
        self.is_ending = False
        #: Called by the loop when the state changes or the end is near; it must not block.
        self.on_progress: Callable[[DeviceRun], None] | None = None
        #: What was seen of it on the way, for the thread that waits for its result.
        self.notes: list[Any] = []
        self.digests = TensorDigests()
        self._decoded: list[torch.Tensor] = []
        self._future: Future[Any] = Future()

    def advance(self, state: RunState) -> None:
        """Move on to *state*, unless the run is there or further already."""
        if state > self.state:
            self.state = state
            self.is_ending = self.is_ending or state >= RunState.DECODING
            self._report()

    def end_soon(self) -> None:
        """Note that the last step begins."""
        if not self.is_ending:
            self.is_ending = True
            self._report()

    def note_decoded(self, output: Any) -> None:
        """Look, without waiting for the device, whether *output* of the decoder has values that are not numbers."""
        first = output if isinstance(output, torch.Tensor) else output[0]
        if isinstance(first, torch.Tensor) and first.is_floating_point():
            self._decoded.append(all_finite(first))

    def decoded_flags(self) -> list[torch.Tensor]:
        """For each call of the decoder, whether all its values are numbers: 0-dim tensors on the device."""
        return self._decoded

    def finish(self, value: Any) -> None:
        """End with *value*."""
        self.advance(RunState.DONE)
        self._future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """End with *error*."""
        self.advance(RunState.DONE)
        self._future.set_exception(error)

    def result(self) -> Any:
        """What *work* returned, as soon as it has; raises what it raised."""
        try:
            return self._future.result()
        finally:
            self._future = Future()  # the error's traceback leads back here, and to the job's tensors

    def _report(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self)
