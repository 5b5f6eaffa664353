"""The meeting point: the denoiser's forward, where the calls of all live jobs become one forward on the device.

No thread of its own: whoever arrives last runs the forward for all. A call waits only for jobs that are between two
forwards right now and are expected to bring a call that fits, and only for a bounded time.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from imagefleet_worker import joining
from imagefleet_worker.baton import LONGEST_S, Baton
from imagefleet_worker.budget import Budget
from imagefleet_worker.device import free_memory, is_fault, is_out_of_memory
from imagefleet_worker.forwards import Counts, Forwards
from imagefleet_worker.pieces import Piece, ready_group
from imagefleet_worker.seats import Seat
from imagefleet_worker.settings import EngineMode, EngineSettings

_LEAST_PATIENCE_S = 0.02


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
        self._lock = threading.Lock()
        self._is_free = threading.Condition(self._lock)
        self._seats: set[Seat] = set()
        self._pending: list[Piece] = []
        self._is_busy = False
        self._quiet_since = 0.0
        #: Of those who sleep here, the one that looks up now and then, for all.
        self._watch: Seat | None = None
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
        with self._lock:
            self._seats.discard(seat)
            self._baton.leave(seat)
            self._hand_watch_on(seat)
            self._wake_leader()

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
            with self._lock:
                self._end_forward()

    def _take_device(self) -> None:
        """Wait until no forward runs, for a call that can be joined with no other."""
        with self._lock:
            self._is_free.wait_for(lambda: not self._is_busy)
            self._is_busy = True

    def _is_alone(self, seat: Seat, rows: int) -> bool:
        """Whether the call needs nothing but the bare forward; then the device is taken for it."""
        with self._lock:
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
        with self._lock:
            seat.arrive(tuple(piece.key for piece in pieces))
            self._pending += pieces
            self._quiet_since = time.monotonic()
            self._baton.pass_on(seat)
            while not seat.has_turn:
                if group := self._ready_group():
                    self._lead(group, seat)
                else:
                    self._wait(seat)
            self._hand_watch_on(seat)
        for piece in pieces:
            if piece.error is not None:
                raise piece.error
        outputs = [piece.output for piece in pieces if piece.output is not None]
        return outputs[0] if len(outputs) == 1 else joining.join_outputs(outputs, counts=[p.rows for p in pieces])

    def _ready_group(self) -> list[Piece]:
        """What can be run now; nothing while a forward runs."""
        return [] if self._is_busy else ready_group(self._pending, self._seats, self._most_rows)

    def _most_rows(self, pixels: int) -> int:
        return self.forwards.fixed_rows or self._budget.rows(pixels)

    def _lead(self, group: list[Piece], leader: Seat) -> None:
        """Run *group* with the lock released, and let its jobs go on: *leader*, which is awake, first."""
        self._is_busy = True
        self._hand_watch_on(leader)
        self._pending = [piece for piece in self._pending if piece not in group]
        self._lock.release()
        try:
            self._serve(group)
        finally:
            self._lock.acquire()
            waiting = {piece.seat for piece in self._pending}
            done = [seat for seat in dict.fromkeys(piece.seat for piece in group) if seat not in waiting]
            for seat in sorted(done, key=lambda seat: seat is not leader):
                seat.is_waiting = False
                self._baton.line_up(seat)
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
            most_rows = self._most_rows(max(piece.seat.pixels for piece in group))
            outputs = self.forwards.run([(p.arguments, p.rows) for p in group], most_rows=most_rows)
        except BaseException as error:  # noqa: BLE001  # handed to the threads whose calls these were
            return error
        for piece, output in zip(group, outputs, strict=True):
            piece.output = output
        return None

    def _end_forward(self) -> None:
        self._is_busy = False
        self._quiet_since = time.monotonic()
        self._is_free.notify_all()
        self._wake_leader()

    def _wake_leader(self) -> None:
        """Wake one whose call could be run now: by this thread's doing, nobody else looks."""
        if group := self._ready_group():
            group[0].seat.wake()

    def _wait(self, seat: Seat) -> None:
        """Sleep until woken. One of those who sleep looks up now and then, so that nobody is waited for too long."""
        watch = self._watch
        if watch is None or (seat.is_waiting and not watch.is_waiting):  # that one's turn comes soon
            self._watch = seat
        if self._watch is not seat:
            seat.sleep(self._lock, timeout_s=-1)
            return
        if self._baton.take_away():
            self._quiet_since = time.monotonic()  # those in line had no time yet
        patience_s = max(_LEAST_PATIENCE_S, self.forwards.last_s / 2)
        left_s = self._quiet_since + patience_s - time.monotonic()
        if self._is_busy or not self._pending:
            seat.sleep(self._lock, timeout_s=LONGEST_S)
        elif left_s > 0:
            seat.sleep(self._lock, timeout_s=min(left_s, LONGEST_S))
        else:  # stop expecting those who are between two forwards
            for other in self._seats:
                other.is_late = not other.is_waiting

    def _hand_watch_on(self, seat: Seat) -> None:
        """Where *seat* had the watch and sleeps no more, let another that sleeps have it."""
        if self._watch is seat or self._watch is None:
            self._watch = next((other for other in self._seats if other.is_asleep), None)
            if self._watch is not None:
                self._watch.wake()


def meeting_point(module: Any, settings: EngineSettings, budget: Budget) -> MeetingPoint:
    """A meeting point for *module* as the mode in *settings* wants it."""
    is_fixed = settings.mode is EngineMode.REPRODUCIBLE
    return MeetingPoint(module, budget=budget, fixed_rows=settings.reproducible_rows if is_fixed else None)
