"""When the worker is told that the device could use one more job."""

from collections.abc import Callable

import pytest

from imagefleet_worker.budget import Budget
from imagefleet_worker.turns import Turns, Visit

COST = 64 * 64


class Told(Turns):
    """Turns that note what they say, and whether it was so."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, budget=Budget(max_rows=16, max_pixels=16 * COST))
        self.said: list[bool] = []
        self.on_room = lambda: self.said.append(self.has_room(cost=COST))


def leave(visit: Visit) -> None:
    visit.leave()


def end_soon(visit: Visit) -> None:
    visit.end_soon()


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize(
    "ways", [(end_soon, leave), (leave,), (end_soon,), ()], ids=["both", "leaves", "ends", "fails"]
)
def test_room_is_told_once_for_each_job(limit: int, ways: tuple[Callable[[Visit], None], ...]) -> None:
    """However it goes, and not again at each of its last moments: a worker would be woken for nothing."""
    turns = Told(limit)
    with turns.visit(cost=COST) as visit:
        visit.enter()
        for way in ways:
            way(visit)

    assert turns.said == [True]


def test_room_is_told_when_an_exclusive_job_has_gone() -> None:
    """Not while it ends: nobody is let in beside it."""
    turns = Told(2)
    with turns.visit(cost=COST, is_exclusive=True) as visit:
        visit.end_soon()
        visit.leave()
        assert not turns.has_room(cost=COST)

    assert turns.said[-1] is True


def test_room_is_told_when_one_that_waited_gives_up() -> None:
    turns = Told(2)
    with turns.visit(cost=16 * COST) as first:
        first.enter()
        with turns.visit(cost=COST):  # its turn does not come
            first.end_soon()
            before = list(turns.said)

        assert turns.said == [*before, True]
