"""How many rows a forward may hold, and how that is measured."""

import pytest
import torch

from imagefleet_worker.batching.budget import BatchBudget, decoder_budget, denoiser_budget, must_calibrate
from imagefleet_worker.batching.calibration import Measurement, calibrate, knee, measure
from imagefleet_worker.settings import EngineSettings

CPU = torch.device("cpu")


def test_rows_shrink_as_images_grow_and_one_is_always_allowed():
    budget = BatchBudget(max_rows=16, max_pixels=8 * 512 * 512)
    assert [budget.rows(side * side) for side in (64, 512, 1024, 2048)] == [16, 8, 2, 1]


@pytest.mark.parametrize(
    ("times", "rows"),
    [
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}, 8),  # the device is never full
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}, 1),  # full with one row: more would only wait
        ({1: 1.0, 2: 1.1, 4: 2.1, 8: 4.1}, 4),
        ({1: 1.0, 2: 1.5, 4: 3.1}, 2),
    ],
)
def test_the_fewest_rows_near_the_best_throughput_are_worth_it(times, rows):
    assert knee([Measurement(n, seconds) for n, seconds in times.items()]).rows == rows


def test_running_out_of_memory_ends_the_measurement_and_nothing_else():
    def run(rows: int) -> None:
        if rows > 4:
            raise torch.OutOfMemoryError("no memory left")

    assert [each.rows for each in measure(run, most_rows=16, device=CPU)] == [1, 2, 4]
    assert measure(lambda rows: run(rows + 4), most_rows=16, device=CPU) == []


def test_a_full_device_is_not_asked_for_more(monkeypatch: pytest.MonkeyPatch):
    """Where four times the rows take four times as long, eight are not tried; where they do not, all are."""
    clock, shares = [0.0], {"full": 1.0, "idle": 0.8}

    def rows_tried(share: float) -> list[int]:
        def run(rows: int) -> None:
            clock[0] += rows**share

        return [each.rows for each in measure(run, most_rows=16, device=CPU)]

    monkeypatch.setattr("imagefleet_worker.batching.calibration.time.perf_counter", lambda: clock[0])
    assert rows_tried(shares["full"]) == [1, 2, 4]
    assert rows_tried(shares["idle"]) == [1, 2, 4, 8, 16]


def test_another_error_of_the_model_is_not_taken_for_a_full_memory():
    def run(_rows: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        measure(run, most_rows=2, device=CPU)


def test_a_model_that_has_no_forward_of_one_row_is_not_measured():
    def run(rows: int) -> None:
        raise ValueError(f"not enough values to unpack (expected 3, got {rows})")

    assert measure(run, most_rows=2, device=CPU) == []


def test_more_rows_than_a_kernel_can_count_end_the_measurement_but_not_a_broken_device():
    def run(rows: int, words: str = "upsample_nearest2d only supports less than INT_MAX elements") -> None:
        if rows > 2:
            raise RuntimeError(words)

    assert [each.rows for each in measure(run, most_rows=16, device=CPU)] == [1, 2]
    with pytest.raises(RuntimeError, match="illegal"):
        measure(lambda rows: run(rows, "CUDA error: an illegal memory access"), most_rows=16, device=CPU)


@pytest.mark.parametrize(
    ("settings", "on_cuda", "on_cpu"),
    [
        ({}, True, False),
        ({"max_pixels": "measure"}, True, True),
        ({"max_pixels": "1000000"}, False, False),
        ({"mode": "off"}, False, False),
        ({"mode": "reproducible"}, False, False),
    ],
)
def test_what_is_measured(settings, on_cuda, on_cpu):
    engine = EngineSettings.model_validate(settings)
    assert (must_calibrate(engine, device="cuda"), must_calibrate(engine, device="cpu")) == (on_cuda, on_cpu)
    if settings.get("max_pixels") == "1000000":
        assert denoiser_budget(engine).max_pixels == 1_000_000


def test_a_call_of_one_image_is_never_split_by_a_measurement():
    found = calibrate(lambda _rows: None, name="forward", most_rows=1, call_pixels=200, pixels=100, device=CPU)
    assert found == 200


def test_nothing_is_found_where_not_even_one_row_fits():
    def run(_rows: int) -> None:
        raise torch.OutOfMemoryError("no memory left")

    assert calibrate(run, name="forward", most_rows=8, call_pixels=200, pixels=100, device=CPU) is None


def test_a_decoder_that_was_not_measured_takes_one_large_image_at_a_time():
    budget = decoder_budget(EngineSettings())
    assert [budget.rows(side * side) for side in (64, 512, 1024, 2048)] == [32, 4, 1, 1]
