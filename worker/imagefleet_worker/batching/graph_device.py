"""The graph device: captures and times forwards on a CUDA device."""

import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet

import torch

from imagefleet_worker.hardware.device_errors import is_out_of_memory

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Captured:
    """A recorded forward: `replay` works on the tensors that it was captured with, and writes into *output*."""

    replay: Callable[[], None]
    output: Any


class GraphDevice(Protocol):
    """What the graphs need of the device."""

    def capture(self, forward: Callable[[], Any]) -> Captured:
        """Record *forward*."""
        ...

    def seconds(self, forward: Callable[[], Any]) -> float:
        """How long *forward* takes until the device is done with it."""
        ...

    def has_memory(self) -> bool:
        """Whether another graph may be captured."""
        ...


class CudaDevice:
    """Captures on a CUDA *device*. All graphs share one memory pool: no two of them ever run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        self._pool: Any = None
        self._alive: WeakSet[torch.cuda.CUDAGraph] = WeakSet()
        #: A graph whose capture failed; torch's allocator may still ask it which memory was its own.
        self._failed: torch.cuda.CUDAGraph | None = None

    def capture(self, forward: Callable[[], Any]) -> Captured:
        """Record *forward*, after two runs on the stream of the captures, as PyTorch asks for.

        Raises:
            RuntimeError: if it cannot be captured.
        """
        if self._failed is not None:
            raise RuntimeError("an earlier capture has failed, and left torch's allocator in the middle of it")
        if self._stream is None:  # one for all: cuBLAS keeps a workspace for each, outside of the pool by the warm-up
            self._stream = torch.cuda.Stream(self._device)
        if not self._alive:  # a pool ends with the last of its graphs, and torch refuses its handle from then on
            self._pool = torch.cuda.graph_pool_handle()
        own = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(own)
        # This block also puts the thread's own stream back if the capture fails: `torch.cuda.graph` does not.
        try:
            with torch.cuda.stream(self._stream):
                forward()
                with _waits_refused():
                    forward()
                return self._record(forward)
        finally:
            own.wait_stream(self._stream)  # modules may keep what they made, whether the capture succeeded or not

    def seconds(self, forward: Callable[[], Any]) -> float:
        """The best of some tries."""
        took: list[float] = []
        for _ in range(_TRIES):
            torch.cuda.synchronize(self._device)
            started = time.perf_counter()
            forward()
            torch.cuda.synchronize(self._device)
            took.append(time.perf_counter() - started)
        return min(took)

    def has_memory(self) -> bool:
        """Whether a fifth of the device's memory is free, or held by torch's cache, which a capture empties."""
        free, total = torch.cuda.mem_get_info(self._device)
        cached = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return free + cached > 0.2 * total

    def _record(self, forward: Callable[[], Any]) -> Captured:
        graph = torch.cuda.CUDAGraph()
        # The threads of jobs wait for events meanwhile: only what this thread does may invalidate the capture.
        recording = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        try:
            with recording:
                output = forward()
        except Exception as error:
            if not is_out_of_memory(error):  # that ends a capture in good order
                self._failed = graph
            raise
        self._alive.add(graph)
        return Captured(graph.replay, output)


@contextmanager
def _waits_refused() -> Generator[None]:
    """Make what waits for the device an error: within a capture it would be one too, and spoil all later captures."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
