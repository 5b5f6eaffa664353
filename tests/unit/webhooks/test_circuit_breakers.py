"""Circuit breakers: who may be sent to now, and when to ask again."""

import pytest

from imagefleet_worker.settings import WebhookSettings
from imagefleet_worker.webhooks.circuit_breakers import CircuitBreakers

HOST = "https://hooks.example:443"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuits(clock: Clock) -> CircuitBreakers:
    settings = WebhookSettings(endpoint_concurrency=2, circuit_failures=3, circuit_open_s=10)
    return CircuitBreakers(settings, clock=clock)


def fail(circuits: CircuitBreakers, times: int = 1, **more: float) -> None:
    for _ in range(times):
        assert circuits.enter(HOST) is None
        circuits.leave(HOST, failed=True, took_s=0.1, **more)


def test_an_endpoint_gets_so_many_at_a_time_and_another_its_own(circuits: CircuitBreakers) -> None:
    assert [circuits.enter(HOST), circuits.enter(HOST)] == [None, None]

    assert circuits.enter(HOST)
    assert circuits.enter("https://other.example:443") is None

    circuits.leave(HOST, failed=False, took_s=1)
    assert circuits.enter(HOST) is None


def test_those_that_wait_come_back_at_the_rate_at_which_the_endpoint_serves(circuits: CircuitBreakers) -> None:
    """Two at a time, a second each: every half second one, and not all at once."""
    circuits.enter(HOST)
    circuits.enter(HOST)
    for _ in range(100):  # one goes, another comes; it stays busy, so that the average is kept
        circuits.leave(HOST, failed=False, took_s=1)
        circuits.enter(HOST)

    pauses = [circuits.enter(HOST) or 0 for _ in range(10)]

    assert pauses == pytest.approx([1 + 0.5 * n for n in range(10)])


def test_no_wait_for_a_turn_is_longer_than_five_minutes(circuits: CircuitBreakers) -> None:
    circuits.enter(HOST)
    circuits.enter(HOST)

    assert max(circuits.enter(HOST) or 0 for _ in range(10_000)) == 300


def test_after_failures_in_a_row_the_endpoint_rests(circuits: CircuitBreakers, clock: Clock) -> None:
    fail(circuits, 3)

    pause = circuits.enter(HOST) or 0
    assert 5 <= pause <= 10.5

    clock.now += 10.6
    assert circuits.enter(HOST) is None, "one may try"
    assert circuits.enter(HOST), "the others wait for what comes of it"


def test_a_success_in_between_is_a_new_beginning(circuits: CircuitBreakers) -> None:
    fail(circuits, 2)
    circuits.enter(HOST)
    circuits.leave(HOST, failed=False, took_s=0.1)
    fail(circuits, 2)

    assert circuits.enter(HOST) is None


def test_each_further_failure_doubles_the_rest_up_to_five_minutes(circuits: CircuitBreakers, clock: Clock) -> None:
    fail(circuits, 3)
    for longest in (20, 40, 80, 160, 300, 300, 300):
        clock.now += 301
        fail(circuits)
        assert longest / 2 <= (circuits.enter(HOST) or 0) <= longest + 0.5


def test_after_a_rest_one_success_lets_all_in_again(circuits: CircuitBreakers, clock: Clock) -> None:
    fail(circuits, 3)
    clock.now += 11
    circuits.enter(HOST)
    circuits.leave(HOST, failed=False, took_s=0.1)

    assert [circuits.enter(HOST), circuits.enter(HOST)] == [None, None]


def test_what_a_receiver_asks_for_holds_for_its_whole_endpoint(circuits: CircuitBreakers, clock: Clock) -> None:
    """But not for an hour: another path of the host may be another customer's."""
    fail(circuits, retry_after_s=60)
    assert 60 <= (circuits.enter(HOST) or 0) <= 60.5

    clock.now += 61
    fail(circuits, retry_after_s=3600)
    assert 300 <= (circuits.enter(HOST) or 0) <= 300.5


def test_endpoints_that_do_well_are_forgotten(circuits: CircuitBreakers) -> None:
    """Jobs name the hosts; their number has no bound."""
    for n in range(100):
        circuits.enter(f"https://host{n}.example:443")
        circuits.leave(f"https://host{n}.example:443", failed=False, took_s=0.1)

    assert not circuits._breakers
