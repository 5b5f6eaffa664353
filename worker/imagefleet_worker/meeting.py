"""The meeting point: the denoiser's forward, where the calls of all live jobs become one forward on the device.

No thread of its own: whoever arrives last runs the forward for all. A call waits only for jobs that are between two
forwards right now and are expected to bring a call that fits, and only for a bounded time.
"""

import threading
import time
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imagefleet_worker import joining
from imagefleet_worker.baton import Baton
from imagefleet_worker.budget import Budget
from imagefleet_worker.device import free_memory, is_fault, is_out_of_memory
from imagefleet_worker.forwards import Counts, Forwards
from imagefleet_worker.seats import Seat
from imagefleet_worker.settings import EngineMode, EngineSettings

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


class MeetingPoint:
    """Takes the place of the forward of *module* until `close`.

    *budget* caps a forward; with *fixed_rows*, every forward has exactly so many rows instead, filled up by repeating
    the last, so that a row's values do not depend on its neighbours.
    """

    def __init__(self, module: Any, *, budget: Budget, fixed_rows: int | None = None) -> None:
        self._module = module
        self._own_forward = module.__dict__.get("forward")  # put there by offload and the like
        self.forwards = Forwards(module.forward, fixed_rows=fixed_rows)
        self._budget = budget
        self._here = threading.local()
        self._baton = Baton()
        self._changed = threading.Condition()
        self._seats: set[Seat] = set()
        self._pending: list[Piece] = []
        self._is_busy = False
        self._quiet_since = 0.0
        module.forward = self._arrive

    def close(self) -> None:
        """Give the module its own forward back."""
        del self._module.forward
        if self._own_forward is not None:
            self._module.forward = self._own_forward

    @property
    def counts(self) -> Counts:
        """What the device did so far."""
        return self.forwards.counts

    @contextmanager
    def seat(self, *, pixels: int, on_call: Callable[[], None] = lambda: None) -> Generator[Seat]:
        """Make this thread one whose calls may be joined, for the length of the block; its images have *pixels*.

        *on_call* is called before each of its calls, and what it raises comes out of the pipeline.
        """
        seat = self._here.seat = Seat(pixels=pixels, on_call=on_call)
        try:
            yield seat
        finally:
            self._here.seat = None
            self.leave(seat)

    def leave(self, seat: Seat) -> None:
        """Tell the others not to wait for *seat*: its last step is done. A further call would bring it back."""
        self._baton.pass_on()
        with self._changed:
            self._seats.discard(seat)
            self._changed.notify_all()

    def _arrive(self, *args: Any, **kwargs: Any) -> Any:
        seat: Seat | None = getattr(self._here, "seat", None)
        if seat is not None:
            seat.on_call()
        rows = len(args[0] if args else next(iter(kwargs.values())))
        if seat is None or kwargs.get("return_dict", True) is not False:  # only tuples can be split
            self._take_device()
        elif not self._is_alone(seat, rows):
            return self._meet(seat, self._pieces(seat, args, kwargs=kwargs))
        try:
            return self.forwards.run_plain(args, kwargs=kwargs, rows=rows)
        finally:
            self._end_forward()

    def _take_device(self) -> None:
        """Wait until no forward runs, for a call that can be joined with no other."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy)
            self._is_busy = True

    def _is_alone(self, seat: Seat, rows: int) -> bool:
        """Whether the call needs nothing but the bare forward; then the device is taken for it."""
        with self._changed:
            self._seats.add(seat)
            seat.is_late = False
            is_plain = self.forwards.fixed_rows is None and rows <= self._budget.rows(seat.pixels)
            is_alone = is_plain and len(self._seats) == 1 and not self._is_busy
            self._is_busy = self._is_busy or is_alone
            return is_alone

    def _pieces(self, seat: Seat, args: tuple[Any, ...], *, kwargs: dict[str, Any]) -> list[Piece]:
        arguments, rows = self.forwards.bind(args, kwargs=kwargs)
        is_exact = self.forwards.fixed_rows is not None
        calls = [(arguments, rows)]
        if is_exact and joining.has_lists(arguments, rows):  # rows of different sizes: each finds its like
            calls = [(joining.take(arguments, rows, start=i, stop=i + 1), 1) for i in range(rows)]
        return [
            Piece(seat, joining.key_of(call, n, name="", digest=seat.digest, is_exact=is_exact), call, n)
            for call, n in calls
        ]

    def _meet(self, seat: Seat, pieces: list[Piece]) -> tuple[Any, ...]:
        self._baton.pass_on()
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
        self._baton.take()
        for piece in pieces:
            if piece.error is not None:
                raise piece.error
        outputs = [piece.output for piece in pieces if piece.output is not None]
        return outputs[0] if len(outputs) == 1 else joining.join_outputs(outputs, counts=[p.rows for p in pieces])

    def _ready_group(self) -> list[Piece]:
        """The oldest calls that go together and have nobody left to wait for, at most the cap in rows."""
        for key in dict.fromkeys(piece.key for piece in self._pending):
            group: list[Piece] = []
            for piece in (piece for piece in self._pending if piece.key == key):
                longer = [*group, piece]
                if group and _rows(longer) > self._most_rows(longer):
                    return group
                group = longer
            if _rows(group) >= self._most_rows(group) or not any(seat.may_bring(key) for seat in self._seats):
                return group
        return []

    def _most_rows(self, group: list[Piece]) -> int:
        if self.forwards.fixed_rows is not None:
            return self.forwards.fixed_rows
        return self._budget.rows(max(piece.seat.pixels for piece in group))

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
            outputs = self.forwards.run([(p.arguments, p.rows) for p in group], most_rows=self._most_rows(group))
        except BaseException as error:  # noqa: BLE001  # handed to the threads whose calls these were
            return error
        for piece, output in zip(group, outputs, strict=True):
            piece.output = output
        return None

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
        patience_s = max(_LEAST_PATIENCE_S, self.forwards.last_s / 2)
        left_s = self._quiet_since + patience_s - time.monotonic()
        if left_s > 0:
            self._changed.wait(timeout=left_s)
            return
        for seat in self._seats:
            seat.is_late = not seat.is_waiting


def _rows(group: list[Piece]) -> int:
    return sum(piece.rows for piece in group)


def meeting_point(module: Any, settings: EngineSettings, budget: Budget) -> MeetingPoint:
    """A meeting point for *module* as the mode in *settings* wants it."""
    is_fixed = settings.mode is EngineMode.REPRODUCIBLE
    return MeetingPoint(module, budget=budget, fixed_rows=settings.reproducible_rows if is_fixed else None)
