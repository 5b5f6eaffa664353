"""The register of running attempts: what may stop one, and how far each is."""

from datetime import UTC, datetime, timedelta

import pytest

from imagefleet.store.records import Claim
from imagefleet_worker.errors import JobCanceled, JobExpired, JobTimedOut, LeaseLost
from imagefleet_worker.jobs.running import AttemptState, RunningAttempt, RunningAttempts, Work


def claim(name: str = "t") -> Claim:
    return Claim(name, "me")


def test_an_undisturbed_attempt_may_go_on() -> None:
    """Nothing stops an attempt that nobody ended."""
    RunningAttempt("a", claim=claim()).check()


def test_cancel_reaches_every_attempt_at_the_job_and_no_other() -> None:
    """Cancel goes by the job, whatever claim it runs under."""
    attempts = RunningAttempts()
    with attempts.tracking("a", claim=claim("1")) as mine, attempts.tracking("b", claim=claim("2")) as other:
        attempts.cancel("a")

    with pytest.raises(JobCanceled):
        mine.check()
    other.check()


def test_a_lost_lease_outranks_a_cancel() -> None:
    """What is no longer ours is not even recorded as canceled."""
    attempts = RunningAttempts()
    with attempts.tracking("a", claim=claim()) as mine:
        attempts.cancel("a")
        attempts.mark_lost("t")

        with pytest.raises(LeaseLost):
            mine.check()


def test_a_lease_that_is_lost_before_a_thread_runs_the_job_stops_the_attempt() -> None:
    attempts = RunningAttempts()
    attempts.claimed(claim())
    attempts.mark_lost("t")

    with attempts.tracking("a", claim=claim()) as mine, pytest.raises(LeaseLost):
        mine.check()


def test_a_deadline_in_the_past_ends_the_attempt() -> None:
    """Nobody waits any more."""
    late = RunningAttempt("a", claim=claim())
    late.deadline = datetime.now(UTC) - timedelta(seconds=1)

    with pytest.raises(JobExpired):
        late.check()


def test_an_attempt_ends_at_its_time_limit() -> None:
    """And does not wait for longer than that."""
    slow = RunningAttempt("a", claim=claim())
    slow.check()
    slow.time_limit_s = 0.05

    slow.wait(30)

    with pytest.raises(JobTimedOut, match=r"0\.05 s"):
        slow.check()


def test_each_message_is_in_one_state_from_its_claim_to_its_end() -> None:
    """One entry, however many parts of the process report it."""
    attempts = RunningAttempts()
    attempts.claimed(claim("1"))
    attempts.claimed(claim("2"))
    assert attempts.count(AttemptState.CLAIMED) == 2
    assert attempts.running() == []

    with attempts.tracking("a", claim=claim("1")) as mine:
        assert mine.state is AttemptState.DISPATCHED
        assert attempts.count(AttemptState.CLAIMED, AttemptState.DISPATCHED) == 2
        for state in (AttemptState.ON_DEVICE, AttemptState.UPLOADING, AttemptState.ENDING):
            mine.state = state
            assert {each for each in AttemptState if attempts.count(each)} == {AttemptState.CLAIMED, state}
            assert attempts.count(*AttemptState) == 2
        attempts.released("1")  # its end is recorded, and the thread has a little to do
        assert attempts.running() == [mine]

    attempts.released("2")  # given back before a thread ran it
    assert attempts.count(*AttemptState) == 0


def test_waiting_ends_when_the_last_attempt_is_over() -> None:
    """A drain is told at once, and does not wait for messages that no thread runs."""
    attempts = RunningAttempts()
    attempts.claimed(claim("waits"))
    with attempts.tracking("a", claim=claim()):
        assert not attempts.wait_until_idle(0.01)
    assert attempts.wait_until_idle(0.01)


def test_work_is_time_with_a_job_and_overlapping_jobs_count_it_once() -> None:
    now = 100.0
    attempts = RunningAttempts(clock=lambda: now)
    attempts.claimed(claim("1"))
    now = 101
    assert attempts.work() == Work(0, 0)
    with attempts.tracking("a", claim=claim("1")):
        now = 103
        with attempts.tracking("b", claim=claim("2")):
            now = 106
            assert attempts.work() == Work(0, 5)
        now = 107
    now = 200
    assert attempts.work() == Work(2, 6)


def test_a_message_that_waits_for_a_rate_is_not_on_its_way_to_the_device() -> None:
    """Neither is it a job that runs; and it is forgotten when it is given back."""
    attempts = RunningAttempts()
    attempts.claimed(claim())

    attempts.wait_for_rate("t", waits=True)

    assert (attempts.count(AttemptState.CLAIMED), attempts.running()) == (0, [])
    attempts.wait_for_rate("t", waits=False)
    assert attempts.count(AttemptState.CLAIMED) == 1
    attempts.wait_for_rate("t", waits=True)
    attempts.released("t")
    assert attempts.count(*AttemptState) == 0


def test_what_is_coming_has_the_smallest_limit_of_all() -> None:
    """A job keeps the limit of its message when a thread runs it."""
    attempts = RunningAttempts()
    assert attempts.coming() == (0, None)
    for token, limit in (("a", None), ("b", 8), ("c", 4)):
        attempts.claimed(Claim(token, "me"), concurrency_limit=limit)
    with attempts.tracking("job", claim=Claim("c", "me")) as attempt:
        assert (attempt.concurrency_limit, attempts.coming()) == (4, (3, 4))
        attempt.state = AttemptState.ON_DEVICE
        assert attempts.coming() == (2, 8)
