"""The baton: one at a time, in the order in which they came, and nobody is held up by who keeps it."""

import pytest

from imagefleet_worker import baton as module
from imagefleet_worker.baton import Baton
from imagefleet_worker.seats import Seat


def seats(count: int) -> list[Seat]:
    """Jobs that sleep at the meeting point."""
    return [Seat(pixels=1, on_call=lambda: None) for _ in range(count)]


def turns(*all_seats: Seat) -> list[bool]:
    """Which of them may work on their step."""
    return [seat.has_turn for seat in all_seats]


def test_it_goes_down_the_line_and_from_who_has_it_only() -> None:
    baton, (one, two, three) = Baton(), seats(3)
    for seat in (one, two, three):
        baton.line_up(seat)
    assert turns(one, two, three) == [True, False, False]
    baton.pass_on(three)
    assert turns(one, two, three) == [True, False, False]
    baton.pass_on(one)
    assert turns(one, two, three) == [True, True, False]
    baton.pass_on(one)
    assert turns(one, two, three) == [True, True, False]


def test_who_keeps_it_loses_it_and_passes_on_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    baton, (one, two, three) = Baton(), seats(3)
    for seat in (one, two, three):
        baton.line_up(seat)
    monkeypatch.setattr(module, "LONGEST_S", 3600)
    assert not baton.take_away()
    monkeypatch.setattr(module, "LONGEST_S", 0)
    assert baton.take_away()
    assert turns(one, two, three) == [True, True, False]
    baton.pass_on(one)
    assert turns(one, two, three) == [True, True, False], "the first gave away what is another's by now"
    baton.pass_on(two)
    assert turns(one, two, three) == [True, True, True]
    assert not baton.take_away(), "nobody is in line"


def test_who_leaves_is_not_waited_for_in_line_or_with_it() -> None:
    baton, (one, two, three) = Baton(), seats(3)
    for seat in (one, two, three):
        baton.line_up(seat)
    baton.leave(two)
    baton.leave(one)
    assert turns(one, two, three) == [True, False, True]
    baton.leave(three)
    baton.line_up(two)
    assert two.has_turn
