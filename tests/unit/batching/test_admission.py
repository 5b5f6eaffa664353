"""Which runs may be on the device, and when the worker learns that it could take one more job."""

import pytest

from imagefleet_worker.batching.admission import Admission
from imagefleet_worker.batching.budget import BatchBudget
from imagefleet_worker.batching.run import DeviceRun, RunState


class Listening(Admission):
    """An admission that notes whether there was capacity each time it said so."""

    def __init__(self, limit: int, *, max_pixels: int = 100) -> None:
        self.said: list[bool] = []
        budget = BatchBudget(max_rows=16, max_pixels=max_pixels)
        super().__init__(limit, budget=budget, on_capacity=lambda: self.said.append(self.has_capacity(cost=10)))

    def add(self, cost: int = 10, *, concurrency_limit: int | None = None) -> DeviceRun:
        """A run that waits."""
        run = DeviceRun(lambda _run: None, cost=cost, pixels=1, concurrency_limit=concurrency_limit)
        self.enqueue([run])
        return run


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("moments", [("ends", "decodes"), ("decodes",), ("ends",), ()], ids="+".join)
def test_capacity_is_announced_once_for_each_job(limit: int, moments: tuple[str, ...]) -> None:
    """However the job goes, and not again at each of its last moments: a thread would be woken for nothing."""
    admission = Listening(limit)
    run = admission.add()
    assert admission.admit() == [run]
    for moment in moments:
        if moment == "ends":
            run.end_soon()
        else:
            run.advance(RunState.DECODING)
    run.fail(ValueError()) if not moments else run.finish(None)
    assert admission.said == [True]
    assert admission.count() == 0


def test_capacity_is_announced_when_a_job_that_must_be_alone_has_gone() -> None:
    """Not while it ends: no other is admitted beside it."""
    admission = Listening(2)
    run = admission.add(concurrency_limit=1)
    admission.admit()
    run.end_soon()
    assert admission.said == []
    assert not admission.has_capacity(cost=10)
    run.finish(None)
    assert admission.said == [True]


def test_jobs_are_admitted_in_order_as_far_as_the_budget_goes() -> None:
    admission = Listening(8)
    first, second, third = admission.add(60), admission.add(60), admission.add(30)
    assert admission.admit() == [first]
    assert not admission.has_capacity(cost=1), "two wait already"
    first.advance(RunState.DECODING)
    assert admission.admit() == [second, third]


def test_capacity_counts_what_is_on_its_way() -> None:
    admission = Listening(8)
    first = admission.add(60)
    admission.admit()
    assert not admission.has_capacity(cost=60)
    assert admission.has_capacity(cost=40)
    assert not admission.has_capacity(cost=40, coming=1)
    first.end_soon()
    assert admission.has_capacity(cost=60)


def test_one_job_is_always_admitted() -> None:
    admission = Listening(8)
    run = admission.add(1_000)
    assert admission.admit() == [run]
    assert not admission.has_capacity(cost=1)


def test_a_job_that_fails_before_its_turn_is_not_waited_for() -> None:
    admission = Listening(1)
    first, second, third = (admission.add() for _ in range(3))
    assert admission.admit() == [first]
    second.fail(ValueError())
    first.finish(None)
    assert admission.admit() == [third]


@pytest.mark.parametrize("limit", [1, 8])
def test_a_job_with_a_limit_of_one_is_alone(limit: int) -> None:
    admission = Listening(limit)
    first, alone, last = admission.add(1), admission.add(1, concurrency_limit=1), admission.add(1)
    assert admission.admit() == [first]
    first.finish(None)
    assert admission.admit() == [alone]
    alone.advance(RunState.DECODING)
    assert admission.admit() == []
    alone.finish(None)
    assert admission.admit() == [last]


def test_one_at_a_time_the_next_begins_when_the_one_before_it_is_over() -> None:
    admission = Listening(1)
    first, second = admission.add(), admission.add()
    assert admission.admit() == [first]
    first.advance(RunState.DECODING)
    assert admission.admit() == []
    first.finish(None)
    assert admission.admit() == [second]


def test_a_job_shares_the_device_with_as_many_as_its_limit_allows() -> None:
    """Whether it came first or last, and those behind it wait."""
    admission = Listening(8)
    first, second, limited, last = (admission.add(1, concurrency_limit=limit) for limit in (None, None, 2, None))
    assert admission.admit() == [first, second]
    assert not admission.has_capacity(cost=1)
    first.advance(RunState.DECODING)
    assert admission.admit() == []
    first.finish(None)
    assert admission.admit() == [limited]
    second.finish(None)
    assert admission.admit() == [last]
    assert not admission.has_capacity(cost=1)
    limited.finish(None)
    assert admission.has_capacity(cost=1)


def test_capacity_counts_the_limit_of_what_is_on_its_way() -> None:
    admission = Listening(8)
    assert admission.has_capacity(cost=1, coming=3, concurrency_limit=4)
    assert not admission.has_capacity(cost=1, coming=4, concurrency_limit=4)
    admission.add(1)
    assert not admission.has_capacity(cost=1, coming=3, concurrency_limit=4)
