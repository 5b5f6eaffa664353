"""Pieces: the rows that jobs have brought to the meeting point, and which of them make the next forward."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from imagefleet_worker import joining
from imagefleet_worker.seats import Seat


@dataclass(slots=True, eq=False)
class Piece:
    """Rows that one job waits for."""

    seat: Seat
    key: Hashable
    arguments: joining.Arguments
    rows: int
    output: tuple[Any, ...] | None = None
    error: BaseException | None = None


def ready_group(pending: list[Piece], seats: Iterable[Seat], most_rows: Callable[[int], int]) -> list[Piece]:
    """The oldest of *pending* that go together and have nobody of *seats* left to wait for; else none.

    They have at most *most_rows* of the pixels of their largest image, or are one piece.
    """
    for key in dict.fromkeys(piece.key for piece in pending):
        group: list[Piece] = []
        rows = pixels = 0
        for piece in pending:
            if piece.key != key:
                continue
            longer, larger = rows + piece.rows, max(pixels, piece.seat.pixels)
            if group and longer > most_rows(larger):
                return group
            group.append(piece)
            rows, pixels = longer, larger
        if rows >= most_rows(pixels) or not any(seat.may_bring(key) for seat in seats):
            return group
    return []
