"""The dispatcher on a real server, without Celery."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from kombu.utils.json import loads
from tests.support.waiting import wait_until

from imagefleet.contract import messages
from imagefleet.store.keys import Keys
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.dispatcher import Dispatcher
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.message_check import MalformedMessage

KEYS = Keys("t:")
QUEUE = "q"


class Task:
    """What the dispatcher asks of a Celery task."""

    time_limit = soft_time_limit = None


@pytest.fixture
def raw(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def leases(raw: "redis.Redis") -> Iterator[Leases]:
    leases = Leases(raw, keys=KEYS, duration_s=30)
    yield leases
    leases.close()


def test_a_message_that_was_claimed_as_the_worker_began_to_drain_goes_back(
    raw: "redis.Redis", leases: Leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drain has given back what waits, and looks no more: Celery would keep the message until the end."""
    monkeypatch.setattr("imagefleet_worker.queue.leases._CLAIM_S", 0.01)  # Redis takes longer to reply

    def on_malformed(_: Claimed, problem: MalformedMessage) -> None:
        raise problem

    delivered: list[Any] = []
    dispatcher = Dispatcher(
        leases, tasks=lambda: {"tiny.work": Task()}, loads=loads, on_malformed=on_malformed, leave=pytest.fail
    )
    message = messages.encode("tiny.work", {}, message_id="one", queue=QUEUE)
    raw.lpush(f"{KEYS.prefix}{QUEUE}", message)
    claimed = leases.claim([QUEUE])
    assert claimed

    leases.stop_claiming()
    assert leases.give_back_waiting() == 0
    dispatcher.dispatch(claimed, QUEUE, deliver=lambda parsed, _: delivered.append(parsed))

    assert delivered == []
    wait_until(lambda: raw.lrange(f"{KEYS.prefix}{QUEUE}", 0, -1) == [message])
    assert not raw.exists(KEYS.claims)
