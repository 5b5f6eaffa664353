"""A sender process and real receivers: one that is slow, dead or gone is nobody else's trouble."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from standardwebhooks import Webhook
from tests.support.processes import running_worker
from tests.support.receiver import Receiver
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

from imagefleet import messages
from imagefleet.deadletters import DeadLetter
from imagefleet.queues import DELIVER_TASK, WEBHOOK_QUEUE, Keys
from imagefleet.results import JobResult, JobStatus
from imagefleet.webhooks import Delivery, Event

KEYS = Keys()
SECRETS = ["whsec_" + base64.b64encode(f"a secret of 25 bytes, no {n}".encode()).decode() for n in range(3)]
Push = Callable[..., list[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with one sender, which has four threads and gives two of them to an endpoint."""
    folder = tmp_path_factory.mktemp("sending")
    with RedisServer(folder) as server:
        env = {
            "IMAGEFLEET_REDIS_URL": server.url,
            "IMAGEFLEET_WEBHOOK_ALLOW_HOSTS": "127.0.0.0/8",
            "IMAGEFLEET_WEBHOOK_SECRETS": SECRETS[0],
            "IMAGEFLEET_WEBHOOK_ENDPOINT_SECRETS": json.dumps({"127.0.0.1": SECRETS[1:]}),
            "IMAGEFLEET_WEBHOOK_RETRY_BASE_S": "0.1",
            "IMAGEFLEET_WEBHOOK_RETRY_FOR_S": "100",
            "IMAGEFLEET_WEBHOOK_ENDPOINT_CONCURRENCY": "2",
            "IMAGEFLEET_WEBHOOK_CIRCUIT_FAILURES": "3",
            "IMAGEFLEET_WEBHOOK_CIRCUIT_OPEN_S": "60",
        }
        with running_worker(env, folder, name="sender", options=("-Q", WEBHOOK_QUEUE, "-c", "4")):
            yield server


@pytest.fixture
def raw(server: RedisServer) -> Iterator["redis_py.Redis"]:
    with redis_py.Redis.from_url(server.url, decode_responses=True) as client:
        client.delete(KEYS.delayed, KEYS.dead, KEYS.dead_index)
        yield client


def delivery(url: str, job_id: str, **more: Any) -> str:
    """The message that delivers the end of a job."""
    event = Event.of(JobResult(id=job_id, status=JobStatus.SUCCEEDED, finished_at=datetime.now(UTC)))
    data = Delivery(url=url, event_id=event.id, body=event.model_dump_json(), **more).model_dump(mode="json")
    return messages.encode(DELIVER_TASK, {"delivery": data}, message_id=event.id, queue=WEBHOOK_QUEUE)


@pytest.fixture
def push(raw: "redis_py.Redis") -> Push:
    """Queue deliveries, as the end of a job does; return the ids of their events."""

    def push(url: str, *, count: int = 1, name: str = "job", **more: Any) -> list[str]:
        queued = [delivery(url, f"{name}-{n}", **more) for n in range(count)]
        raw.lpush(KEYS.deliveries, *queued)
        return [json.loads(message)["headers"]["id"] for message in queued]

    return push


@pytest.fixture
def other() -> Iterator[Receiver]:
    """A second receiver."""
    receiver = Receiver()
    yield receiver
    receiver.close()


def letters(raw: "redis_py.Redis") -> list[DeadLetter]:
    return [DeadLetter.model_validate_json(text) for text in raw.hvals(KEYS.dead)]


def test_a_slow_endpoint_does_not_hold_up_a_quick_one(push: Push, receiver: Receiver, other: Receiver) -> None:
    """It takes 3 s for each of 10 events; the other's 20 are there meanwhile, and the slow one gets two at a time."""
    receiver.reply(204, delay_s=3)
    push(receiver.url, count=10, name="slow")
    receiver.wait_for(2)
    start = time.monotonic()

    push(other.url, count=20, name="quick")

    other.wait_for(20)
    assert time.monotonic() - start < 3
    assert len(receiver.requests) == 2
    receiver.forget()
    receiver.wait_for(8, 30)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 8


def test_a_dead_endpoint_is_left_alone(push: Push, raw: "redis_py.Redis", receiver: Receiver, other: Receiver) -> None:
    """After three failures in a row nobody asks again for a while; what waits has lost no try."""
    receiver.reply(500)

    push(receiver.url, count=20, name="dead")
    wait_until(lambda: raw.zcount(KEYS.delayed, time.time() + 15, "inf") == 20)
    push(other.url, name="alive")

    other.wait_for(1)
    assert 3 <= len(receiver.requests) <= 4, "two run at a time, so the third failure may have a companion"
    waiting = [json.loads(json.loads(json.loads(entry)[1])["body"])[1] for entry in raw.zrange(KEYS.delayed, 0, -1)]
    assert [each["delivery"]["attempt"] for each in waiting].count(1) == 20 - len(receiver.requests)


def test_410_ends_it_and_what_comes_after_is_not_sent(push: Push, raw: "redis_py.Redis", receiver: Receiver) -> None:
    """A dead letter each; another path of the same host is not touched."""
    receiver.reply(410)
    push(receiver.url, name="first")
    wait_until(lambda: len(letters(raw)) == 1)
    receiver.forget()

    push(receiver.url, name="second")
    wait_until(lambda: len(letters(raw)) == 2)
    push(f"{receiver.url}/other", name="third")

    assert [request.path for request in receiver.wait_for(1)] == ["/hook/other"]
    assert {letter.reason for letter in letters(raw)} == {"delivery_gone"}


def test_429_is_tried_again_when_the_receiver_said_with_the_same_id(push: Push, receiver: Receiver) -> None:
    """And the reference library verifies it with each of the endpoint's own two secrets."""
    receiver.reply(429, {"Retry-After": "2"})
    (event_id,) = push(receiver.url, name="busy")
    receiver.wait_for(1)
    start = time.monotonic()
    receiver.reply(204)

    requests = receiver.wait_for(2)

    assert time.monotonic() - start > 1.9
    for request in requests:
        assert request.headers["webhook-id"] == event_id
        for secret in SECRETS[1:]:
            assert Webhook(secret).verify(request.body, dict(request.headers))


def test_news_that_is_stale_or_not_wanted_now_is_dropped(push: Push, raw: "redis_py.Redis", receiver: Receiver) -> None:
    """Neither sent late, nor tried again, nor a dead letter."""
    push(receiver.url, name="stale", expires_at=time.time() - 1)
    receiver.reply(500)
    (event_id,) = push(receiver.url, name="unwanted", expires_at=time.time() + 30)
    receiver.wait_for(1)
    receiver.reply(204)
    (last,) = push(receiver.url, name="last")

    ids = [request.headers["webhook-id"] for request in receiver.wait_for(2)]

    assert ids == [event_id, last]
    assert raw.zcard(KEYS.delayed) == 0
    assert letters(raw) == []


def imagefleet(server: RedisServer, *args: str) -> str:
    """What the command prints."""
    command = [str(Path(sys.executable).parent / "imagefleet"), "--redis-url", server.url, "webhooks", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_what_has_failed_is_listed_and_sent_again_under_its_id(
    push: Push, server: RedisServer, raw: "redis_py.Redis", receiver: Receiver
) -> None:
    """By the command line; a receiver that was gone and takes it is no longer gone."""
    receiver.reply(410)
    (event_id,) = push(receiver.url, name="lost")
    wait_until(lambda: letters(raw))
    receiver.forget()

    (line,) = imagefleet(server, "list", "--json").splitlines()
    listed = json.loads(line)
    shown = json.loads(imagefleet(server, "show", event_id))
    imagefleet(server, "replay", event_id)

    assert (listed["id"], listed["state"], listed["job_id"]) == (event_id, "failed", "lost-0")
    assert "410" in listed["reason"]
    (request,) = receiver.wait_for(1)
    assert request.headers["webhook-id"] == event_id
    assert request.body.decode() == shown["body"]
    assert imagefleet(server, "list", "--json") == ""
    wait_until(lambda: not raw.exists(KEYS.gone(receiver.url)))
    push(receiver.url, name="next")
    receiver.wait_for(2)


def test_what_waits_for_its_next_try_is_listed_and_can_be_tried_now(
    server: RedisServer, raw: "redis_py.Redis", receiver: Receiver
) -> None:
    """Among other messages that wait, which stay where they are."""
    message = delivery(receiver.url, "later", attempt=3, last_error="it was closed")
    event_id = json.loads(message)["headers"]["id"]
    others = {json.dumps(["imagefleet.default", f"job {n}"]): time.time() + n for n in range(1000, 3500)}
    raw.zadd(KEYS.delayed, {**others, json.dumps([KEYS.deliveries, message]): time.time() + 3600})

    (listed,) = map(json.loads, imagefleet(server, "list", "--json").splitlines())
    imagefleet(server, "replay", event_id)

    assert (listed["id"], listed["state"], listed["attempts"]) == (event_id, "postponed", 2)
    assert listed["reason"] == "it was closed"
    assert receiver.wait_for(1)[0].headers["webhook-id"] == event_id
    assert raw.zcard(KEYS.delayed) == len(others)


def test_all_that_has_failed_is_sent_again_at_once(
    push: Push, server: RedisServer, raw: "redis_py.Redis", receiver: Receiver
) -> None:
    receiver.reply(410)
    ids = push(receiver.url, count=5, name="many")
    wait_until(lambda: len(letters(raw)) == 5)
    receiver.forget()

    imagefleet(server, "replay", "--failed")

    assert {request.headers["webhook-id"] for request in receiver.wait_for(5)} == set(ids)
