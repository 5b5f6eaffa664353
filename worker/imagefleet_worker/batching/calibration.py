"""Calibration: how many rows of one forward are worth it, measured with the model on its device before jobs come."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import torch

from imagefleet_worker.hardware.device_errors import is_fault, is_out_of_memory
from imagefleet_worker.hardware.torch_device import (
    forget_peak,
    free_memory,
    memory_left,
    synchronize,
)

log = structlog.get_logger(__name__)

#: The fewest rows with this part of the best throughput are chosen: more would only make each job slower.
_ENOUGH = 0.95
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Measurement:
    """The seconds that a forward of *rows* rows takes."""

    rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """The throughput."""
        return self.rows / self.seconds


def calibrate(
    run: Callable[[int], object], *, name: str, most_rows: int, call_pixels: int, pixels: int, device: torch.device
) -> int | None:
    """The rows times pixels of a batch that are worth it, for images of *pixels*; None if nothing fits the memory.

    *run* makes a forward of the method *name* with a given number of rows. One image's own call, of *call_pixels*, has
    been made and stays whole.
    """
    found = measure(run, most_rows=most_rows, device=device)
    rates = {each.rows: round(each.rows_per_second, 2) for each in found}
    log.info("measured", method=name, pixels=pixels, rows_per_second=rates)
    return max(knee(found).rows * pixels, call_pixels) if found else None


def measure(run: Callable[[int], object], *, most_rows: int, device: torch.device) -> list[Measurement]:
    """Time *run* with 1, 2, 4, ... rows, up to *most_rows*, or until twice as many would not fit the memory.

    It also ends if four times the rows have brought next to nothing: more rows would only take their time.
    Running out of memory ends it and is no error; the list is empty if not even one row fits.
    """
    found: list[Measurement] = []
    rows = 1
    while rows <= most_rows:
        seconds = _seconds(run, rows, device)
        if seconds is None:
            free_memory()
            break
        found.append(Measurement(rows, seconds))
        if not memory_left(device) or _is_full(found):
            break
        rows *= 2
    return found


def knee(measurements: Sequence[Measurement]) -> Measurement:
    """The fewest rows that come close to the best throughput."""
    best = max(each.rows_per_second for each in measurements)
    return next(each for each in measurements if each.rows_per_second >= _ENOUGH * best)


def _is_full(found: Sequence[Measurement]) -> bool:
    """Whether the last two doublings together brought less than would be worth it."""
    return len(found) > 2 and _ENOUGH * found[-1].rows_per_second < found[-3].rows_per_second  # noqa: PLR2004


def _seconds(run: Callable[[int], object], rows: int, device: torch.device) -> float | None:
    """The best of some tries, after one to warm up; None if they are too many."""
    took: list[float] = []
    forget_peak(device)
    try:
        for _ in range(1 + _TRIES):
            synchronize(device)
            started = time.perf_counter()
            run(rows)
            synchronize(device)
            took.append(time.perf_counter() - started)
    except Exception as error:
        # More rows can be too many in other ways: some kernels count their values in 32 bits, and say so. One row can
        # be too few: a denoiser may divide its rows by three.
        if is_fault(error) or (rows == 1 and isinstance(error, RuntimeError) and not is_out_of_memory(error)):
            raise
        return None  # its caller frees the memory, when this error and what it holds are gone
    return min(took[1:])
