"""How captures use `torch.cuda`, on a made-up one: pools end with their graphs, and a failed capture leaves marks."""

import weakref
from collections.abc import Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imagefleet_worker.batching.graph_device import CudaDevice


class MadeUpCuda:
    """`torch.cuda` as far as captures use it; as torch, it refuses the handle of a pool without graphs."""

    class CUDAGraph:
        """Does nothing."""

        def replay(self) -> None: ...

    def __init__(self) -> None:
        self.handles = 0
        self.current: Any = "own"
        self.error: Exception | None = None
        self.mode = 0
        self.users: dict[int, list[weakref.ref[Any]]] = {}

    def Stream(self, _device: Any) -> Any:  # noqa: N802  # torch's name
        return SimpleNamespace(wait_stream=print)

    def current_stream(self, _device: Any) -> Any:
        return SimpleNamespace(wait_stream=print)

    @contextmanager
    def stream(self, stream: Any) -> Generator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph: Any, *, pool: int, stream: Any, capture_error_mode: str) -> Generator[None]:
        assert capture_error_mode == "thread_local"
        users = self.users.setdefault(pool, [])
        if users and not any(user() for user in users):
            raise RuntimeError("use_count > 0 INTERNAL ASSERT FAILED")
        self.current = stream
        yield
        if self.error:
            raise self.error  # by the end of the capture; the stream stays as it is
        users.append(weakref.ref(graph))

    def graph_pool_handle(self) -> int:
        self.handles += 1
        return self.handles

    def get_sync_debug_mode(self) -> int:
        return self.mode

    def set_sync_debug_mode(self, mode: Any) -> None:
        self.mode = mode


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> MadeUpCuda:
    """In the place of `torch.cuda`."""
    made_up = MadeUpCuda()
    monkeypatch.setattr(torch, "cuda", made_up)
    return made_up


def test_graphs_share_a_pool_until_none_of_them_is_left(cuda: MadeUpCuda) -> None:
    graph_device = CudaDevice(torch.device("cuda"))
    first = graph_device.capture(lambda: None)
    second = graph_device.capture(lambda: None)
    assert cuda.handles == 1
    del first, second
    assert graph_device.capture(lambda: None)
    assert (cuda.handles, cuda.current, cuda.mode) == (2, "own", 0)


def test_what_waits_for_the_device_is_found_before_the_capture(cuda: MadeUpCuda) -> None:
    graph_device = CudaDevice(torch.device("cuda"))

    def waiting() -> None:
        if cuda.mode == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="synchronizing"):
        graph_device.capture(waiting)
    assert (cuda.users, cuda.current, cuda.mode) == ({}, "own", 0)
    assert graph_device.capture(lambda: None)


@pytest.mark.parametrize(("error", "is_last"), [(RuntimeError("invalidated"), True), (torch.OutOfMemoryError(), False)])
def test_a_failed_capture_gives_the_stream_back_and_is_the_last(
    cuda: MadeUpCuda, error: Exception, *, is_last: bool
) -> None:
    graph_device = CudaDevice(torch.device("cuda"))
    cuda.error = error
    with pytest.raises(type(error)):
        graph_device.capture(lambda: None)
    cuda.error = None
    assert (cuda.current, cuda.mode) == ("own", 0)
    if is_last:
        with pytest.raises(RuntimeError, match="earlier capture"):
            graph_device.capture(lambda: None)
    else:
        assert graph_device.capture(lambda: None)
