"""CUDA graphs: forwards of few rows are recorded once and replayed, if that is faster than launching each kernel.

Launching the kernels of a network is Python's work, and for few rows the device waits for it. A graph is launched as a
whole. See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs for what may be captured.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import torch

from imagefleet.errors import reason_of
from imagefleet_worker.batching import collation
from imagefleet_worker.batching.collation import Arguments
from imagefleet_worker.batching.graph_device import Captured, GraphDevice
from imagefleet_worker.batching.torch_state import TorchState

log = structlog.get_logger(__name__)

#: Rows that graphs are captured for at the start. A call of fewer is filled up where that pays; where it does not, its
#: own number of rows may come often enough.
ROW_COUNTS = (1, 2, 4, 8)
#: A size that was not captured at the start is captured after this many forwards.
_OFTEN = 64
_MOST_GRAPHS = 16
#: A graph that takes more than this part of the eager time is not worth its memory.
_WORTHWHILE = 0.97


@dataclass(slots=True)
class _Graph:
    arguments: Arguments
    captured: Captured
    #: A call of fewer rows is faster kernel by kernel than filled up.
    least_rows: int


class CudaGraphs:
    """Replays captured forwards, and makes all others as they come; only the device loop's thread uses it."""

    def __init__(self, device: GraphDevice, *, fills_up: bool = True) -> None:
        """Without *fills_up*, only calls of exactly as many rows as a graph has are replayed: kernels stay the same."""
        self.replays = 0
        self._fills_up = fills_up
        #: Off until the start is over, so that measurements see the forward as it is.
        self.is_open = False
        self._device = device
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._seen: Counter[Hashable] = Counter()
        self._refused: set[Hashable] = set()

    @property
    def count(self) -> int:
        """Graphs that are held now."""
        return len(self._graphs)

    def prepare(self, function: Callable[..., Any], arguments: Arguments, rows: int) -> None:
        """Capture calls like this one for each number of rows, as long as that pays."""
        self.is_open = True
        first = collation.slice_rows(arguments, rows, start=0, stop=1)
        for count in ROW_COUNTS:
            key = self._key(first, 1, count)
            if key is None or not self._capture(key, function, collation.collate([(first, 1)] * count)):
                return

    def run(self, function: Callable[..., Any], arguments: Arguments, rows: int) -> Any:
        """The output of *function*, which is the caller's own."""
        for width in self._widths(rows) if self.is_open else ():
            key = self._key(arguments, rows, width)
            if key in self._refused:
                continue
            if key is None or (key not in self._graphs and not self._is_due(key)):
                break
            if key not in self._graphs and not self._capture(key, function, collation.pad(arguments, rows, to=width)):
                continue
            if rows >= self._graphs[key].least_rows:
                return self._replay(key, arguments, rows, width)
        return function(**arguments)

    def _widths(self, rows: int) -> Sequence[int]:
        """The rows of the graphs that may serve a call of *rows* rows, the best first."""
        if rows > ROW_COUNTS[-1]:
            return ()
        filled = next(count for count in ROW_COUNTS if count >= rows)
        return (filled, rows) if self._fills_up and filled != rows else (rows,)

    def _replay(self, key: Hashable, arguments: Arguments, rows: int, width: int) -> Any:
        graph = self._graphs[key]
        self._graphs.move_to_end(key)
        _copy_into(graph.arguments, collation.pad(arguments, rows, to=width))
        graph.captured.replay()
        self.replays += 1
        part = collation.split_output(graph.captured.output, [rows, width - rows])[0]
        return _cloned(part)  # the next replay writes over the graph's own

    def _is_due(self, key: Hashable) -> bool:
        """Whether calls of this kind have come often enough to be captured."""
        self._seen[key] += 1
        if len(self._seen) > 8 * _MOST_GRAPHS:
            self._seen.clear()
        return self._seen[key] >= _OFTEN

    def _capture(self, key: Hashable, function: Callable[..., Any], arguments: Arguments) -> bool:
        """Capture a forward on copies of *arguments*; false if that fails or does not pay, which is final."""
        self._refused.add(key)
        if not self._device.has_memory():
            log.info("no CUDA graph", reason="less than a fifth of the device's memory is free")
            return False
        held = _copied(arguments)
        try:
            captured = self._device.capture(lambda: function(**held))
            eager_s = self._device.seconds(lambda: function(**held))
            replay_s = self._device.seconds(captured.replay)
            collation.split_output(captured.output, [_rows(held)])
            least_rows = self._least_rows(function, held, replay_s)
        except Exception as error:  # noqa: BLE001  # a model may have no forward of this number of rows, and say so in any way
            log.warning("no CUDA graph: forwards are launched kernel by kernel", reason=reason_of(error))
            return False
        if replay_s > _WORTHWHILE * eager_s:
            return False
        self._refused.discard(key)
        self._seen.pop(key, None)  # if it is dropped for others, it has to come often again
        self._graphs[key] = _Graph(held, captured, least_rows)
        if len(self._graphs) > _MOST_GRAPHS:
            self._graphs.popitem(last=False)
        log.info("CUDA graph", rows=_rows(held), eager_ms=round(eager_s * 1e3, 2), replay_ms=round(replay_s * 1e3, 2))
        return True

    def _least_rows(self, function: Callable[..., Any], held: Arguments, replay_s: float) -> int:
        """The fewest rows for which filling up to those of *held* pays."""
        width = _rows(held)
        least = max((count for count in ROW_COUNTS if count < width), default=0) + 1
        if not self._fills_up or least == width or width not in ROW_COUNTS:
            return width
        part = collation.slice_rows(held, width, start=0, stop=least)
        return least if replay_s <= _WORTHWHILE * self._device.seconds(lambda: function(**part)) else width

    def _key(self, arguments: Arguments, rows: int, width: int) -> Hashable | None:
        """What a graph is made for; None if the call cannot be captured."""
        shapes = _shapes(arguments, rows)
        return None if shapes is None else (shapes, width, TorchState.current())


def _shapes(arguments: Arguments, rows: int) -> tuple[Hashable, ...] | None:
    found: list[Hashable] = []
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            has_rows = collation.has_rows(value, rows, name=name)
            found.append((name, has_rows, value.shape[1:] if has_rows else value.shape, value.dtype, value.device))
        elif isinstance(value, dict):
            inner = _shapes(value, rows)
            if inner is None:
                return None
            found.append((name, inner))
        elif isinstance(value, bool | int | float | str | type(None)):
            found.append((name, value))
        else:
            return None
    return tuple(found)


def _rows(arguments: Arguments) -> int:
    return len(next(iter(arguments.values())))


def _copied(arguments: Arguments) -> Arguments:
    return {
        name: _copied(value) if isinstance(value, dict) else value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in arguments.items()
    }


def _copy_into(held: Arguments, arguments: Arguments) -> None:
    for name, value in arguments.items():
        if isinstance(value, dict):
            _copy_into(held[name], value)
        elif isinstance(value, torch.Tensor):
            held[name].copy_(value, non_blocking=True)


def _cloned(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, Sequence) and not isinstance(output, str):
        return type(output)(_cloned(value) for value in output)  # type: ignore[call-arg]  # a tuple or a list
    if isinstance(output, dict):
        return type(output)(**{name: _cloned(value) for name, value in output.items()})
    return output
