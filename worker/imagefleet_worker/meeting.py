"""The meeting point: the denoiser's forward, where the calls of all live jobs become one forward on the device.

No thread of its own: whoever arrives last runs the forward for all. A call waits only for jobs that are between two
forwards right now and are expected to bring a call that fits, and only for a bounded time.
"""

import inspect
import threading
import time
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imagefleet_worker import joining
from imagefleet_worker.device import free_memory, is_fault, is_out_of_memory
from imagefleet_worker.seats import Seat

_LEAST_PATIENCE_S = 0.02


@dataclass(slots=True, eq=False)
class Piece:
    """Rows that one job waits for."""

    seat: Seat
    key: Hashable
    arguments: joining.Arguments
    rows: int
    output: tuple[Any, ...] | None = None
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        """Whether its job can go on."""
        return self.output is not None or self.error is not None


@dataclass(slots=True)
class Counts:
    """What the device did: forwards run, calls they served, rows in them (without padding), and seconds inside."""

    forwards: int = 0
    calls: int = 0
    rows: int = 0
    seconds: float = 0.0


class MeetingPoint:
    """Takes the place of the forward of *module* until `close`.

    *max_rows* caps the rows of a forward; with *fixed_rows*, every forward has exactly so many, filled up by
    repeating the last, so that a row's values do not depend on its neighbours.
    """

    def __init__(self, module: Any, *, max_rows: int, fixed_rows: int | None = None) -> None:
        self.counts = Counts()
        self._module = module
        self._forward = module.forward
        self._signature = inspect.signature(self._forward)
        self._max_rows = fixed_rows or max_rows
        self._fixed_rows = fixed_rows
        self._here = threading.local()
        self._changed = threading.Condition()
        self._seats: set[Seat] = set()
        self._pending: list[Piece] = []
        self._is_busy = False
        self._last_forward_s = 0.0
        self._quiet_since = 0.0
        module.forward = self._arrive

    def close(self) -> None:
        """Give the module its own forward back."""
        del self._module.forward

    @contextmanager
    def seat(self) -> Generator[Seat]:
        """Make this thread one whose calls may be joined, for the length of the block."""
        seat = self._here.seat = Seat()
        try:
            yield seat
        finally:
            self._here.seat = None
            self.leave(seat)

    def leave(self, seat: Seat) -> None:
        """Tell the others not to wait for *seat*: its last step is done. A further call would bring it back."""
        with self._changed:
            self._seats.discard(seat)
            self._changed.notify_all()

    def _arrive(self, *args: Any, **kwargs: Any) -> Any:
        seat: Seat | None = getattr(self._here, "seat", None)
        if seat is None or kwargs.get("return_dict", True) is not False:  # only tuples can be split
            return self._forward(*args, **kwargs)
        rows = len(args[0] if args else next(iter(kwargs.values())))
        if not self._is_alone(seat, rows):
            return self._meet(seat, self._pieces(seat, args, kwargs=kwargs))
        try:
            started = time.perf_counter()
            output = self._forward(*args, **kwargs)
            self._count(rows=rows, started=started)
            return output
        finally:
            self._end_forward()

    def _is_alone(self, seat: Seat, rows: int) -> bool:
        """Whether the call needs nothing but the bare forward; then the device is taken for it."""
        with self._changed:
            self._seats.add(seat)
            seat.is_late = False
            is_plain = self._fixed_rows is None and rows <= self._max_rows
            is_alone = is_plain and len(self._seats) == 1 and not self._is_busy
            self._is_busy = self._is_busy or is_alone
            return is_alone

    def _pieces(self, seat: Seat, args: tuple[Any, ...], *, kwargs: dict[str, Any]) -> list[Piece]:
        arguments, rows = joining.bind(self._signature, args, kwargs=kwargs)
        is_exact = self._fixed_rows is not None
        calls = [(arguments, rows)]
        if is_exact and joining.has_lists(arguments, rows):  # rows of different sizes: each finds its like
            calls = [(joining.take(arguments, rows, start=i, stop=i + 1), 1) for i in range(rows)]
        return [
            Piece(seat, joining.key_of(call, n, name="", digest=seat.digest, is_exact=is_exact), call, n)
            for call, n in calls
        ]

    def _meet(self, seat: Seat, pieces: list[Piece]) -> tuple[Any, ...]:
        with self._changed:
            seat.arrive(tuple(piece.key for piece in pieces))
            self._pending += pieces
            self._quiet_since = time.monotonic()
            while not all(piece.is_done for piece in pieces):
                group = [] if self._is_busy else self._ready_group()
                if group:
                    self._lead(group)
                else:
                    self._wait()
            seat.is_waiting = False
        for piece in pieces:
            if piece.error is not None:
                raise piece.error
        outputs = [piece.output for piece in pieces if piece.output is not None]
        return outputs[0] if len(outputs) == 1 else joining.join_outputs(outputs, counts=[p.rows for p in pieces])

    def _ready_group(self) -> list[Piece]:
        """The oldest calls that go together and have nobody left to wait for, at most the cap in rows."""
        for key in dict.fromkeys(piece.key for piece in self._pending):
            group: list[Piece] = []
            alike = [piece for piece in self._pending if piece.key == key]
            for piece in alike:
                if group and sum(p.rows for p in group) + piece.rows > self._max_rows:
                    return group
                group.append(piece)
            full = sum(piece.rows for piece in group) >= self._max_rows
            if full or not any(seat.may_bring(key) for seat in self._seats):
                return group
        return []

    def _lead(self, group: list[Piece]) -> None:
        """Run *group* with the lock released, and wake everybody."""
        self._is_busy = True
        self._pending = [piece for piece in self._pending if piece not in group]
        self._changed.release()
        try:
            self._serve(group)
        finally:
            self._changed.acquire()
            for piece in group:
                piece.seat.is_waiting = any(other.seat is piece.seat for other in self._pending)
        self._end_forward()

    def _serve(self, group: list[Piece]) -> None:
        error = self._try(group)
        if error is None:
            return
        is_final = is_fault(error) or not isinstance(error, Exception) or len(group) == 1
        is_full = is_out_of_memory(error)
        if is_final:
            group[0].error = error
            for piece in group[1:]:
                piece.error = error
            return
        del error  # its traceback holds the tensors of the joined forward
        if is_full:
            free_memory()
        for piece in group:  # nobody is blamed for a neighbour: each gets a forward of its own
            piece.error = self._try([piece])

    def _try(self, group: list[Piece]) -> BaseException | None:
        try:
            outputs = self._run(group)
        except BaseException as error:  # noqa: BLE001  # handed to the threads whose calls these were
            return error
        for piece, output in zip(group, outputs, strict=True):
            piece.output = output
        return None

    def _run(self, group: list[Piece]) -> list[tuple[Any, ...]]:
        started = time.perf_counter()
        counts = [piece.rows for piece in group]
        rows = sum(counts)
        arguments = group[0].arguments if len(group) == 1 else joining.join([(p.arguments, p.rows) for p in group])
        if rows <= self._max_rows and self._fixed_rows is None:
            output = self._forward(**arguments)
        else:
            output = self._run_in_parts(arguments, rows)
        self._count(rows=rows, calls=len(group), started=started)
        return [output] if len(group) == 1 else joining.split_output(output, counts)

    def _run_in_parts(self, arguments: joining.Arguments, rows: int) -> tuple[Any, ...]:
        outputs: list[tuple[Any, ...]] = []
        counts: list[int] = []
        for start in range(0, rows, self._max_rows):
            stop = min(start + self._max_rows, rows)
            part, count = joining.take(arguments, rows, start=start, stop=stop), stop - start
            if self._fixed_rows is not None:
                last = joining.take(part, count, start=count - 1, stop=count)
                part = joining.join([(part, count)] + [(last, 1)] * (self._fixed_rows - count))
            output = self._forward(**part)
            width = self._fixed_rows or count
            outputs.append(joining.split_output(output, [count, width - count])[0])
            counts.append(count)
        return outputs[0] if len(outputs) == 1 else joining.join_outputs(outputs, counts=counts)

    def _count(self, *, rows: int, started: float, calls: int = 1) -> None:
        self._last_forward_s = time.perf_counter() - started
        self.counts.forwards += 1
        self.counts.calls += calls
        self.counts.rows += rows
        self.counts.seconds += self._last_forward_s

    def _end_forward(self) -> None:
        with self._changed:
            self._is_busy = False
            self._quiet_since = time.monotonic()
            self._changed.notify_all()

    def _wait(self) -> None:
        """Wait for news; where none comes for too long, stop expecting those who are between two forwards."""
        if self._is_busy:
            self._changed.wait()
            return
        patience_s = max(_LEAST_PATIENCE_S, self._last_forward_s / 2)
        left_s = self._quiet_since + patience_s - time.monotonic()
        if left_s > 0:
            self._changed.wait(timeout=left_s)
            return
        for seat in self._seats:
            seat.is_late = not seat.is_waiting
