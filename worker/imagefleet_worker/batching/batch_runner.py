"""The batch runner: makes one forward of the calls of a batch, and gives each call its own rows back."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
import torch

from imagefleet_worker.batching import collation
from imagefleet_worker.batching.batch import Call
from imagefleet_worker.batching.collation import Arguments, Unjoinable
from imagefleet_worker.batching.cuda_graphs import CudaGraphs
from imagefleet_worker.batching.device_timer import DeviceTimer
from imagefleet_worker.batching.row_cache import RowCache
from imagefleet_worker.batching.run import RunState
from imagefleet_worker.hardware.device_errors import is_fault, is_out_of_memory
from imagefleet_worker.hardware.torch_device import free_memory

if TYPE_CHECKING:
    from imagefleet_worker.batching.shared_method import SharedMethod

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ForwardCounts:
    """Forwards of the denoiser, the calls that they served, and the rows in them without padding."""

    forwards: int = 0
    calls: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call as a run made it, to be repeated by a measurement."""

    method: "SharedMethod"
    arguments: Arguments
    rows: int


class BatchRunner:
    """Runs calls on *device*; only the device loop's thread uses it."""

    def __init__(self, device: torch.device, *, timer: DeviceTimer, graphs: CudaGraphs | None) -> None:
        self.counts = ForwardCounts()
        self.graphs = graphs
        #: What methods that keep rows have made; None before joining is proved.
        self.row_cache: RowCache | None = None
        self._device = device
        self._timer = timer
        self._recorded: list[RecordedCall] | None = None
        self._not_joined: set[str] = set()

    @contextmanager
    def recording(self) -> Generator[list[RecordedCall]]:
        """The calls that come within the block and could be joined with others."""
        self._recorded = recorded = []
        try:
            yield recorded
        finally:
            self._recorded = None

    def repeat(self, call: RecordedCall, rows: int) -> Any:
        """The output of a forward of *rows* rows, each of which is the first row of a recorded *call*."""
        first = collation.slice_rows(call.arguments, call.rows, start=0, stop=1)
        return self.forward(call.method, collation.collate([(first, 1)] * rows), rows)

    def run_alone(
        self, method: "SharedMethod", args: tuple[Any, ...], kwargs: dict[str, Any], *, most_rows: int
    ) -> Any:
        """The output of one run's call, as it came if that is possible."""
        is_recorded, is_kept = self._recorded is not None, method.policy.keeps_rows
        is_plain = self._device.type == "cpu" and self.graphs is None and not is_recorded and not is_kept
        rows = _rows_of(args, kwargs)
        if is_plain and rows <= most_rows:
            return self._run_plain(method, args, kwargs, rows)
        try:
            arguments, rows = method.bind(args, kwargs)
            collation.batch_key(arguments, rows, digest=lambda _: None, is_exact=False)
        except Unjoinable as reason:
            return self.run_unjoinable(method, args, kwargs, reason=reason)
        self._count(method, rows=rows, calls=1)
        return self._output(method, arguments, rows, most_rows=most_rows)

    def run_unjoinable(
        self, method: "SharedMethod", args: tuple[Any, ...], kwargs: dict[str, Any], *, reason: Unjoinable
    ) -> Any:
        """The output of a call that can be joined with none; the reason is logged once for each method."""
        self._note_unjoinable(method, reason)
        return self._run_plain(method, args, kwargs, _rows_of(args, kwargs))

    def serve(self, calls: Sequence[Call]) -> None:
        """Give each of *calls*, which go together, its output or its error.

        A batch that fails is made again in halves, until the call that fails is alone: no job is blamed for its
        neighbour, and a device that is full for all may have room for half of them.
        """
        error = self._try(calls)
        if error is None:
            return
        if isinstance(error, Unjoinable):  # the output cannot be split
            self._note_unjoinable(calls[0].method, error)
            calls[0].method.policy.forbid_joining()
            for call in calls:
                call.error = self._try([call])
            return
        if len(calls) == 1 or is_fault(error) or not isinstance(error, Exception):
            for call in calls:
                call.error = error
            del error  # its traceback leads back here: a circle would keep the tensors of the forward
            return
        is_full = is_out_of_memory(error)
        del error  # its traceback holds the tensors of the joined forward
        if is_full:
            self.free_memory()
        half = len(calls) // 2
        self.serve(calls[:half])
        self.serve(calls[half:])

    def forward(self, method: "SharedMethod", arguments: Arguments, rows: int) -> Any:
        """The output of one forward, from a CUDA graph if there is one for it."""
        with self._timer.forward():
            if self.graphs is not None and method.state is RunState.DENOISING:
                return self.graphs.run(method.function, arguments, rows)
            return method.function(**arguments)

    def free_memory(self) -> None:
        """Give back to the device what is kept for later calls."""
        if self.row_cache is not None:
            self.row_cache.clear()
        free_memory()

    def _try(self, calls: Sequence[Call]) -> BaseException | None:
        first = calls[0]
        method, policy = first.method, first.method.policy
        counts = [call.rows for call in calls]
        try:
            arguments = (
                first.arguments if len(calls) == 1 else collation.collate([(c.arguments, c.rows) for c in calls])
            )
            pixels = max(call.run.pixels for call in calls)
            with first.state.active():
                output = self._output(method, arguments, sum(counts), most_rows=policy.budget.rows(pixels))
            outputs = [output] if len(calls) == 1 else collation.split_output(output, counts)
        except BaseException as error:  # noqa: BLE001  # raised in the runs whose calls these are
            return error
        self._count(method, rows=sum(counts), calls=len(calls))
        for call, part in zip(calls, outputs, strict=True):
            call.output = part
        return None

    def _output(self, method: "SharedMethod", arguments: Arguments, rows: int, *, most_rows: int) -> Any:
        """The output of one call of *rows* rows; those that the method's cache knows are not computed."""
        if self.row_cache is None or not method.policy.keeps_rows or self._recorded is not None:
            return self._in_parts(method, arguments, rows, most_rows=most_rows)

        def make(part: Arguments, count: int) -> Any:
            return self._in_parts(method, part, count, most_rows=most_rows)

        return self.row_cache.output(method, arguments, rows, make=make)

    def _in_parts(self, method: "SharedMethod", arguments: Arguments, rows: int, *, most_rows: int) -> Any:
        """The output of one call of *rows* rows: of one forward, or of several that are small enough or filled up."""
        if self._device.type != "cpu":
            arguments = _on_device(arguments, self._device)
        if self._recorded is not None:
            self._recorded.append(RecordedCall(method, arguments, rows))
        fixed = method.policy.fixed_rows
        if fixed is None and rows <= most_rows:
            return self.forward(method, arguments, rows)
        width = fixed or most_rows
        outputs: list[Any] = []
        counts: list[int] = []
        for start in range(0, rows, width):
            stop = min(start + width, rows)
            count = stop - start
            part = collation.slice_rows(arguments, rows, start=start, stop=stop)
            if fixed is not None:
                part = collation.pad(part, count, to=fixed)
            output = self.forward(method, part, fixed or count)
            outputs.append(collation.split_output(output, [count, (fixed or count) - count])[0])
            counts.append(count)
        return collation.join_outputs(outputs, counts=counts)

    def _run_plain(self, method: "SharedMethod", args: tuple[Any, ...], kwargs: dict[str, Any], rows: int) -> Any:
        self._count(method, rows=rows, calls=1)
        if self._device.type != "cpu":
            args = tuple(_placed(value, self._device) for value in args)
            kwargs = _on_device(kwargs, self._device)
        with self._timer.forward():
            return method.function(*args, **kwargs)

    def _count(self, method: "SharedMethod", *, rows: int, calls: int) -> None:
        if method.state is RunState.DENOISING:
            self.counts.forwards += 1
            self.counts.calls += calls
            self.counts.rows += rows

    def _note_unjoinable(self, method: "SharedMethod", reason: Unjoinable) -> None:
        if method.name not in self._not_joined:
            self._not_joined.add(method.name)
            log.info("calls are not joined", method=method.name, reason=str(reason))


def _rows_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    first = args[0] if args else next(iter(kwargs.values()), None)
    return (
        len(first) if isinstance(first, torch.Tensor | list) and not (torch.is_tensor(first) and not first.ndim) else 1
    )


def _on_device(arguments: Arguments, device: torch.device) -> Arguments:
    """*arguments* with times, which schedulers may keep in the host's memory, on the device; without waiting for it."""
    return {name: _placed(value, device) for name, value in arguments.items()}


def _placed(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor) and value.ndim <= 1 and value.device.type == "cpu":
        return value.contiguous().pin_memory().to(device, non_blocking=True)
    return value
