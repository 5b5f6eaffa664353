"""Whether an attempt may write: a real Redis, and a clock that goes on while the process is stopped."""

import pytest
import redis

from imagefleet.store.keys import Keys
from imagefleet.store.records import Claim
from imagefleet_worker.errors import JobCanceled, LeaseLost
from imagefleet_worker.jobs.lease_guard import LeaseGuard
from imagefleet_worker.jobs.retrying_redis import RetryingRedis
from imagefleet_worker.jobs.running import RunningAttempt
from imagefleet_worker.queue import claims

KEYS = Keys()
MINE = Claim("token", "me")


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(raw: "redis.Redis", clock: Clock) -> LeaseGuard:
    return LeaseGuard(RetryingRedis(raw), keys=KEYS, duration_s=30, clock=clock)


@pytest.fixture
def attempt(raw: "redis.Redis") -> RunningAttempt:
    """An attempt at a job whose message this process has claimed."""
    raw.lpush("imagefleet.default", "{}")
    raw.execute_command(
        *claims.claim(KEYS, queues=["imagefleet.default"], token=MINE.token, owner=MINE.owner, duration_s=30)
    )
    return RunningAttempt("job-1", claim=MINE, confirmed_at=0)


def test_a_young_lease_costs_no_round_trip(raw: "redis.Redis", guard: LeaseGuard, attempt: RunningAttempt) -> None:
    raw.hset(KEYS.owners, MINE.token, "somebody else")

    guard.check(attempt)


def test_a_lease_that_may_have_run_out_is_lost_if_another_process_has_it(
    raw: "redis.Redis", guard: LeaseGuard, attempt: RunningAttempt, clock: Clock
) -> None:
    raw.hset(KEYS.owners, MINE.token, "somebody else")
    clock.now = 20

    with pytest.raises(LeaseLost):
        guard.check(attempt)


def test_a_lease_that_may_have_run_out_is_renewed_if_nobody_has_it(
    raw: "redis.Redis", guard: LeaseGuard, attempt: RunningAttempt, clock: Clock
) -> None:
    raw.zadd(KEYS.leases, {MINE.token: 1})
    clock.now = 100

    guard.check(attempt)

    assert (raw.zscore(KEYS.leases, MINE.token) or 0) > 1
    assert attempt.confirmed_at == 100


def test_a_cancel_that_nobody_heard_of_is_noticed_then(
    raw: "redis.Redis", guard: LeaseGuard, attempt: RunningAttempt, clock: Clock
) -> None:
    raw.hset(KEYS.job("job-1"), "cancel", "1")
    clock.now = 20

    with pytest.raises(JobCanceled):
        guard.check(attempt)
