"""Forwards: the device's side of the meeting point, which runs joined calls and gives each caller its own rows back."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from imagefleet_worker import joining

Call = tuple[joining.Arguments, int]
Output = tuple[Any, ...]


@dataclass(slots=True)
class Counts:
    """What the device did: forwards run, calls they served, rows in them (without padding), and seconds inside."""

    forwards: int = 0
    calls: int = 0
    rows: int = 0
    seconds: float = 0.0


class Forwards:
    """Runs *forward*, at most one call at a time; with *fixed_rows*, every call is filled up to so many rows.

    It is filled by repeating the last row, so that a row's values do not depend on its neighbours.
    """

    def __init__(self, forward: Callable[..., Any], *, fixed_rows: int | None) -> None:
        self.counts = Counts()
        self.last_s = 0.0
        self.fixed_rows = fixed_rows
        self._forward = forward
        self._binder = joining.Binder(forward)
        self._recorded: list[Call] | None = None
        self._is_inferring = False

    def bind(self, args: tuple[Any, ...], *, kwargs: dict[str, Any]) -> Call:
        """A call by the names of its arguments, with its number of rows, as `joining.Binder.bind`."""
        return self._binder.bind(args, kwargs=kwargs)

    def run_plain(self, args: tuple[Any, ...], *, kwargs: dict[str, Any], rows: int) -> Any:
        """One caller's call, as it came."""
        started = time.perf_counter()
        output = self._forward(*args, **kwargs)
        self._count(rows=rows, calls=1, started=started)
        if self._recorded is not None:
            self._recorded.append(self.bind(args, kwargs=kwargs))
            self._is_inferring = torch.is_inference_mode_enabled()
        return output

    @contextmanager
    def recording(self) -> Generator[list[Call]]:
        """The calls that come one by one within the block, for measurements with `repeat`."""
        self._recorded = calls = []
        try:
            yield calls
        finally:
            self._recorded = None

    def repeat(self, call: Call, rows: int) -> None:
        """Run a call that is the first row of a recorded *call* so many times, as it ran, and forget its output."""
        with torch.inference_mode(self._is_inferring), torch.no_grad():
            first = joining.take(call[0], call[1], start=0, stop=1)
            self._forward(**joining.join([(first, 1)] * rows))

    def run(self, calls: Sequence[Call], *, most_rows: int) -> list[Output]:
        """The outputs of *calls*, which have equal keys, from one forward, or from several of *most_rows* rows."""
        started = time.perf_counter()
        counts = [rows for _, rows in calls]
        rows = sum(counts)
        arguments = calls[0][0] if len(calls) == 1 else joining.join(calls)
        if rows <= most_rows and self.fixed_rows is None:
            output = self._forward(**arguments)
        else:
            output = self._run_in_parts(arguments, rows, most_rows=self.fixed_rows or most_rows)
        self._count(rows=rows, calls=len(calls), started=started)
        return [output] if len(calls) == 1 else joining.split_output(output, counts)

    def _run_in_parts(self, arguments: joining.Arguments, rows: int, *, most_rows: int) -> Output:
        outputs: list[Output] = []
        counts: list[int] = []
        for start in range(0, rows, most_rows):
            stop = min(start + most_rows, rows)
            part, count = joining.take(arguments, rows, start=start, stop=stop), stop - start
            width = self.fixed_rows or count
            if width > count:
                last = joining.take(part, count, start=count - 1, stop=count)
                part = joining.join([(part, count)] + [(last, 1)] * (width - count))
            outputs.append(joining.split_output(self._forward(**part), [count, width - count])[0])
            counts.append(count)
        return outputs[0] if len(outputs) == 1 else joining.join_outputs(outputs, counts=counts)

    def _count(self, *, rows: int, calls: int, started: float) -> None:
        self.last_s = time.perf_counter() - started
        self.counts.forwards += 1
        self.counts.calls += calls
        self.counts.rows += rows
        self.counts.seconds += self.last_s
