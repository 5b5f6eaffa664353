"""How many rows a forward may hold, and how that is measured."""

import threading

import pytest
import torch
from tests.support.waiting import wait_until

from imagefleet_worker.budget import Budget, budget_of, is_to_measure
from imagefleet_worker.settings import EngineSettings
from imagefleet_worker.tuning import Measurement, measure, worthwhile
from imagefleet_worker.turns import Turns

CPU = torch.device("cpu")


def test_rows_shrink_as_images_grow_and_one_is_always_allowed():
    budget = Budget(max_rows=16, max_pixels=8 * 512 * 512)
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
    assert worthwhile([Measurement(n, seconds) for n, seconds in times.items()]).rows == rows


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

    monkeypatch.setattr("imagefleet_worker.tuning.time.perf_counter", lambda: clock[0])
    assert rows_tried(shares["full"]) == [1, 2, 4]
    assert rows_tried(shares["idle"]) == [1, 2, 4, 8, 16]


def test_another_error_of_the_model_is_not_taken_for_a_full_memory():
    def run(_rows: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        measure(run, most_rows=2, device=CPU)


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
    assert (is_to_measure(engine, device="cuda"), is_to_measure(engine, device="cpu")) == (on_cuda, on_cpu)
    if settings.get("max_pixels") == "1000000":
        assert budget_of(engine).max_pixels == 1_000_000


def test_jobs_enter_as_far_as_the_budget_goes():
    turns = Turns(8, budget=Budget(max_rows=16, max_pixels=100))
    with turns.visit(cost=60) as first:
        assert not turns.has_room(cost=60)
        assert turns.has_room(cost=40)
        assert not turns.has_room(cost=40, coming=1)
        first.end_soon()
        assert turns.has_room(cost=60)
    with turns.visit(cost=1_000):  # one is always let in
        assert not turns.has_room(cost=1)


def test_who_waits_prepares_itself_and_enters_in_order():
    """The first in line has its turn when it comes, prepared or not: nobody behind it waits for it to be prepared."""
    turns = Turns(2, budget=Budget(max_rows=16, max_pixels=100))
    with turns.visit(cost=60) as first, turns.visit(cost=60) as second, turns.visit(cost=30) as third:
        assert [first.has_entered, second.has_entered, third.has_entered] == [True, False, False]
        assert turns.count() == 1
        assert not turns.has_room(cost=1), "two wait already"
        first.leave()
        assert [second.has_entered, third.has_entered] == [True, True]
        second.enter()
        third.enter()


def test_who_gives_up_in_line_is_not_waited_for():
    turns = Turns(1 + 1, budget=Budget(max_rows=16, max_pixels=100))
    with turns.visit(cost=60) as first:
        with turns.visit(cost=60) as second:
            pass
        assert not second.has_entered
        with turns.visit(cost=60) as third:
            assert not third.has_entered
            first.leave()
            third.enter()
    assert turns.count() == 0


def test_nobody_prepares_itself_beside_an_exclusive_job_or_where_jobs_run_one_at_a_time():
    for limit, is_exclusive in ((1, False), (8, True)):
        turns = Turns(limit, budget=Budget(max_rows=16, max_pixels=100))
        began = threading.Event()

        def stand_in_line(turns: Turns = turns, began: threading.Event = began) -> None:
            with turns.visit(cost=1):
                began.set()

        with turns.visit(cost=1, is_exclusive=is_exclusive):
            thread = threading.Thread(target=stand_in_line)
            thread.start()
            wait_until(lambda turns=turns: not turns.has_room(cost=1) and turns._waiting)
            assert not began.wait(0.1)
        thread.join(10)
        assert began.is_set()
