"""How long the device works: marks in its own stream on CUDA, wall time elsewhere."""

import functools
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch

Span = tuple[float, float]


class DeviceClock:
    """Times the denoiser, the decoder and the text encoders of a pipeline, below whatever an engine puts on top."""

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._marks: list[tuple[Any, Any]] = []

    @contextmanager
    def watching(self, pipe: Any) -> Generator[None]:
        """Time *pipe*; make and close engines on it within the block."""
        methods = [(part, "forward") for name, part in pipe.components.items() if _is_timed(name) and part is not None]
        methods.append((pipe.vae, "decode"))
        for module, name in methods:
            setattr(module, name, self._timed(getattr(module, name)))
        try:
            yield
        finally:
            for module, name in methods:  # an engine that was closed has removed some of them already
                vars(module).pop(name, None)

    def run(self, work: Callable[[], Any]) -> tuple[float, float]:
        """Seconds that *work* takes until the device is done with it, and how many of them the device worked."""
        self._synchronize()
        self._marks.clear()
        first, start = self._mark(), time.perf_counter()
        work()
        self._synchronize()
        took_s = time.perf_counter() - start
        return took_s, union_s([(self._between(first, a), self._between(first, b)) for a, b in self._marks])

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)  # the engine reads the signature
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self._mark()
            try:
                return method(*args, **kwargs)
            finally:
                self._marks.append((start, self._mark()))

        return timed

    def _mark(self) -> Any:
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, first: Any, later: Any) -> float:
        return first.elapsed_time(later) / 1000 if self._is_cuda else later - first

    def _synchronize(self) -> None:
        if self._is_cuda:
            torch.cuda.synchronize()


def union_s(spans: Iterable[Span]) -> float:
    """Seconds that at least one of *spans* covers."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def _is_timed(name: str) -> bool:
    return name in ("unet", "transformer") or name.startswith("text_encoder")
