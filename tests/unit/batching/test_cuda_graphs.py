"""When forwards are captured and replayed, on a made-up device that records a forward as a call of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from imagefleet_worker.batching import cuda_graphs
from imagefleet_worker.batching.cuda_graphs import ROW_COUNTS, CudaGraphs
from imagefleet_worker.batching.graph_device import Captured


class MadeUpDevice:
    """Replays a forward by calling it, and writes its output where the first one lies, as a CUDA graph does."""

    def __init__(self) -> None:
        self.captures = 0
        self.replay_s = 0.5
        self.error: RuntimeError | None = None
        self.is_full = False

    def capture(self, forward: Callable[[], Any]) -> Captured:
        if self.error:
            raise self.error
        self.captures += 1
        (output,) = forward()

        def replay() -> None:
            output.copy_(forward()[0])

        self._replay = replay
        return Captured(replay, (output,))

    def seconds(self, forward: Callable[[], Any]) -> float:
        return self.replay_s if forward is self._replay else 1.0

    def has_memory(self) -> bool:
        return not self.is_full


class Network:
    """A sum that depends on all its inputs; counts its forwards."""

    def __init__(self) -> None:
        self.forwards = 0
        #: Of the last forward.
        self.rows = 0

    def __call__(self, sample: torch.Tensor, scale: torch.Tensor, extra: dict[str, torch.Tensor], flag: Any) -> Any:
        self.forwards += 1
        self.rows = len(sample)
        return (sample * scale[:, None] + extra["ids"].sum() + (1 if flag else 0),)


def arguments(rows: int, *, start: float = 0.0, width: int = 3, flag: object = True) -> dict[str, Any]:
    """A call whose values depend on *start*."""
    return {
        "sample": torch.arange(rows * width, dtype=torch.float32).reshape(rows, width) + start,
        "scale": torch.arange(rows, dtype=torch.float32) + 1,
        "extra": {"ids": torch.full((7,), start)},
        "flag": flag,
    }


@pytest.fixture
def device() -> MadeUpDevice:
    """A device that nobody else uses."""
    return MadeUpDevice()


def prepared(device: MadeUpDevice, network: Network) -> CudaGraphs:
    """Graphs of *network* for all numbers of rows."""
    graphs = CudaGraphs(device)
    graphs.prepare(network, arguments(2), 2)
    return graphs


def test_calls_of_few_rows_are_replayed_with_their_own_values(device: MadeUpDevice) -> None:
    network = Network()
    graphs = prepared(device, network)
    assert device.captures == graphs.count == len(ROW_COUNTS)
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    for start, rows in enumerate((1, 2, 3, 4, 5, 8, 2, 1)):
        given = arguments(rows, start=float(start))
        (output,) = graphs.run(network, given, rows)
        kept.append((output, Network()(**given)[0]))
    assert graphs.replays == 8
    for output, expected in kept:  # a later replay leaves earlier outputs as they are
        assert torch.equal(output, expected)


class SlowPerRow(MadeUpDevice):
    """Each row takes as long as the first, and launching takes no time."""

    def __init__(self, network: "Network") -> None:
        super().__init__()
        self._network = network

    def seconds(self, forward: Callable[[], Any]) -> float:
        if forward is not self._replay:
            forward()
        else:
            self._replay()
        return self._network.rows * (0.9 if forward is self._replay else 1.0)


def test_a_call_is_not_filled_up_where_its_own_rows_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight rows of a graph take longer than five that are launched one kernel after the other."""
    monkeypatch.setattr(cuda_graphs, "_OFTEN", 3)
    network = Network()
    graphs = prepared(SlowPerRow(network), network)
    replays: list[int] = []
    for rows in (8, 5, 5, 5, 5, 4):
        given = arguments(rows, start=float(rows))
        assert torch.equal(graphs.run(network, given, rows)[0], Network()(**given)[0])
        replays.append(graphs.replays)
    assert replays == [1, 1, 1, 2, 3, 4]  # from the third call on there is a graph of five rows


def test_where_kernels_must_stay_the_same_no_call_is_filled_up(device: MadeUpDevice) -> None:
    network = Network()
    graphs = CudaGraphs(device, fills_up=False)
    graphs.prepare(network, arguments(2), 2)
    for rows in (1, 2, 3, 4, 5, 8):
        graphs.run(network, arguments(rows), rows)
    assert graphs.replays == 4


def test_a_model_that_has_no_forward_of_so_many_rows_goes_on_without_a_graph(device: MadeUpDevice) -> None:
    def thirds(sample: torch.Tensor, **_: object) -> Any:
        one, two, three = sample.chunk(3)
        return (torch.cat([one, two, three]),)

    graphs = CudaGraphs(device)
    graphs.prepare(thirds, arguments(3), 3)
    assert graphs.count == 0
    assert len(graphs.run(thirds, arguments(3), 3)[0]) == 3


def test_more_rows_than_any_graph_has_are_made_as_they_come(device: MadeUpDevice) -> None:
    network = Network()
    graphs = prepared(device, network)
    graphs.run(network, arguments(9), 9)
    assert graphs.replays == 0


def test_a_size_that_comes_often_is_captured_later(device: MadeUpDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "_OFTEN", 3)
    network = Network()
    graphs = prepared(device, network)
    before = device.captures
    for _ in range(5):
        graphs.run(network, arguments(2, width=7), 2)
    assert device.captures == before + 1
    assert graphs.replays == 3
    assert torch.equal(
        graphs.run(network, arguments(2, width=7, start=4), 2)[0], Network()(**arguments(2, width=7, start=4))[0]
    )


def test_a_size_that_was_dropped_for_others_has_to_come_often_again(
    device: MadeUpDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "_OFTEN", 3)
    monkeypatch.setattr(cuda_graphs, "_MOST_GRAPHS", 4)
    network = Network()
    graphs = prepared(device, network)
    before = device.captures
    for _ in range(3):
        for width in range(5, 10):  # in turn, so that the one whose turn it is was always dropped
            graphs.run(network, arguments(1, width=width), 1)
    assert device.captures == before + 5
    for width in range(5, 10):
        graphs.run(network, arguments(1, width=width), 1)
    assert device.captures == before + 5


def test_a_graph_that_is_not_faster_is_not_kept_nor_tried_again(
    device: MadeUpDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "_OFTEN", 1)
    device.replay_s = 0.99
    network = Network()
    graphs = prepared(device, network)
    assert (graphs.count, device.captures) == (0, 1), "more rows pay even less"
    for _ in range(3):
        graphs.run(network, arguments(1), 1)
    assert device.captures == 1


def test_a_capture_that_fails_leaves_the_forwards_as_they_are(device: MadeUpDevice) -> None:
    device.error = RuntimeError("operation not permitted when stream is capturing")
    network = Network()
    graphs = prepared(device, network)
    assert torch.equal(graphs.run(network, arguments(2), 2)[0], Network()(**arguments(2))[0])
    assert (graphs.count, graphs.replays) == (0, 0)


def test_no_graph_is_captured_where_memory_is_short(device: MadeUpDevice) -> None:
    device.is_full = True
    assert prepared(device, Network()).count == 0


def test_what_cannot_be_captured_or_differs_is_made_as_it_comes(device: MadeUpDevice) -> None:
    network = Network()
    graphs = prepared(device, network)
    graphs.run(network, arguments(2, flag=[torch.zeros(1)]), 2)
    graphs.run(network, arguments(2, flag=False), 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        graphs.run(network, arguments(2), 2)
    assert graphs.replays == 0


def test_nothing_is_captured_before_the_start_is_over(device: MadeUpDevice) -> None:
    graphs, network = CudaGraphs(device), Network()
    for _ in range(200):
        graphs.run(network, arguments(1), 1)
    assert device.captures == 0


def test_no_more_graphs_are_held_than_the_memory_pool_is_meant_for(
    device: MadeUpDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "_OFTEN", 1)
    graphs = CudaGraphs(device)
    graphs.is_open = True
    for width in range(1, 40):
        graphs.run(Network(), arguments(1, width=width), 1)
    assert graphs.count == 16
