"""Flights: what may end an attempt from outside."""

from datetime import UTC, datetime, timedelta

import pytest

from imagefleet.records import Claim
from imagefleet_worker.errors import JobCanceled, JobExpired, LeaseLost
from imagefleet_worker.flights import Flight, Flights, Work


def flight(job_id: str = "a", claim_id: str = "t") -> Flight:
    return Flight(job_id, claim=Claim(claim_id, "me"))


def test_an_undisturbed_flight_may_go_on() -> None:
    """Nothing stops an attempt that nobody ended."""
    flight().check()


def test_cancel_reaches_every_attempt_at_the_job_and_no_other() -> None:
    """Cancel goes by the job, whatever claim it runs under."""
    flights, mine, other = Flights(), flight("a", "1"), flight("b", "2")
    with flights.boarding(mine), flights.boarding(other):
        flights.cancel("a")

    with pytest.raises(JobCanceled):
        mine.check()
    other.check()


def test_a_lost_lease_outranks_a_cancel() -> None:
    """What is no longer ours is not even recorded as canceled."""
    flights, mine = Flights(), flight()
    with flights.boarding(mine):
        flights.cancel("a")
        flights.lose("t")

        with pytest.raises(LeaseLost):
            mine.check()


def test_a_deadline_in_the_past_ends_the_attempt() -> None:
    """Nobody waits any more."""
    late = flight()
    late.deadline = datetime.now(UTC) - timedelta(seconds=1)

    with pytest.raises(JobExpired):
        late.check()


def test_waiting_ends_when_the_last_flight_has_landed() -> None:
    """A drain is told at once."""
    flights = Flights()
    with flights.boarding(flight()):
        assert not flights.wait_until_empty(0.01)
    assert flights.wait_until_empty(0.01)


def test_work_is_time_with_a_job_and_overlapping_jobs_count_it_once() -> None:
    now = 100.0
    flights = Flights(clock=lambda: now)
    assert flights.work() == Work(0, 0)
    with flights.boarding(flight("a", "1")):
        now = 102
        with flights.boarding(flight("b", "2")):
            now = 105
            assert flights.work() == Work(0, 5)
        now = 106
    now = 200
    assert flights.work() == Work(2, 6)
