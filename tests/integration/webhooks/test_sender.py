"""A sender process and real receivers: one that is slow, dead or gone is nobody else's trouble."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis as redis_py
from standardwebhooks import Webhook
from tests.support import command_line
from tests.support.fleet.processes import running_worker
from tests.support.servers.redis import RedisServer
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.contract import messages
from imagefleet.contract.queues import DELIVER_TASK, WEBHOOK_QUEUE
from imagefleet.contract.results import Artifact, JobResult, JobStatus
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys
from imagefleet.store.webhook_records import WebhookRecord
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
            "IMAGEFLEET_WEBHOOK_RETRY_FOR_S": "200",  # longer than a circuit breaker is open, here 120 s at most
            "IMAGEFLEET_WEBHOOK_ENDPOINT_CONCURRENCY": "2",
            "IMAGEFLEET_WEBHOOK_CIRCUIT_FAILURES": "3",
            "IMAGEFLEET_WEBHOOK_CIRCUIT_OPEN_S": "60",
            # Nothing listens there: links are signed without asking.
            "IMAGEFLEET_STORAGE_BUCKET": "images",
            "IMAGEFLEET_STORAGE_ENDPOINT_URL": "http://127.0.0.1:9",
            "IMAGEFLEET_STORAGE_REGION": "eu-west-3",
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
        }
        with running_worker(env, folder, name="sender", options=("-Q", WEBHOOK_QUEUE, "-c", "4")):
            yield server


@pytest.fixture
def raw(server: RedisServer) -> Iterator["redis_py.Redis"]:
    with redis_py.Redis.from_url(server.url, decode_responses=True) as client:
        client.delete(KEYS.delayed, KEYS.dead, KEYS.dead_index)
        yield client


def delivery(url: str, job_id: str, *artifacts: Artifact, **more: Any) -> str:
    """The message that delivers the end of a job."""
    result = JobResult(id=job_id, status=JobStatus.SUCCEEDED, artifacts=artifacts, finished_at=datetime.now(UTC))
    event = Event.for_result(result)
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


def test_a_slow_endpoint_does_not_hold_up_a_quick_one(
    push: Push, raw: "redis_py.Redis", receiver: Receiver, other: Receiver
) -> None:
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
    wait_until(lambda: not raw.hlen(KEYS.claims) and not raw.zcard(KEYS.delayed), 20)  # else they fail in the next test


def test_a_dead_endpoint_is_left_alone(push: Push, raw: "redis_py.Redis", receiver: Receiver, other: Receiver) -> None:
    """After three failures in a row nobody asks again for a while; what waits has lost no try."""
    receiver.reply(500)

    push(receiver.url, count=20, name="dead")
    wait_until(lambda: raw.zcount(KEYS.delayed, time.time() + 15, "inf") == 20)
    push(other.url, name="alive")

    other.wait_for(1)
    assert 3 <= len(receiver.requests) <= 4, "two run at a time, so the third failure may have a companion"
    waiting = [json.loads(json.loads(json.loads(entry)[1])["body"])[1] for entry in raw.zrange(KEYS.delayed, 0, -1)]
    assert sum(each["delivery"]["attempt"] - 1 for each in waiting) == len(receiver.requests)


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


def imagefleet(server: RedisServer, *args: str, command: str = "webhooks") -> str:
    """What the command prints."""
    done = command_line.run("--redis-url", server.url, command, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


def test_what_became_of_a_webhook_is_in_the_jobs_record_and_status(server: RedisServer, receiver: Receiver) -> None:
    """After a try that failed, after one that was accepted, and after the end of all tries."""
    receiver.reply(503, {"Retry-After": "1"})
    with Client(server.url) as client:

        def hooked(state: str) -> WebhookRecord | None:
            return next((each for each in client.get("hooked").webhooks if each.state == state), None)

        client.submit("a dog", job_id="hooked", webhook={"url": receiver.url})
        client.cancel("hooked")
        postponed = wait_until(lambda: hooked("postponed"))
        assert (postponed.event, postponed.attempts, postponed.status) == ("job.canceled", 1, 503)
        assert postponed.due_at - postponed.at == timedelta(seconds=1)
        assert "answered 503" in imagefleet(server, "hooked", command="status")

        receiver.reply(204)
        delivered = wait_until(lambda: hooked("delivered"))
        assert (delivered.id, delivered.attempts, delivered.status) == (postponed.id, 2, 204)
        assert (delivered.due_at, delivered.reason) == (None, None)
        assert "delivered at 20" in imagefleet(server, "hooked", command="status")

        receiver.reply(410)
        client.submit("a dog", job_id="gone", webhook={"url": receiver.url, "events": ["job.queued", "job.canceled"]})
        client.cancel("gone")
        wait_until(lambda: [each.state for each in client.get("gone").webhooks] == ["failed"] * 2)
    (shown,) = map(json.loads, imagefleet(server, "gone", "--json", command="status").splitlines())
    ended, queued = shown["webhooks"]
    assert (ended["event"], queued["event"]) == ("job.canceled", "job.queued")
    assert "410" in ended["reason"]


def test_each_try_has_a_link_that_was_signed_for_it(raw: "redis_py.Redis", receiver: Receiver) -> None:
    """Under one id, and with a signature over what is sent."""
    seen = {"media_type": "image/png", "format": "png", "width": 8, "height": 8, "seed": 1, "sha256": "0"}
    old = {"uri": "s3://images/images/linked/0.png", "url": "http://old.example.com", "size_bytes": 8}
    receiver.reply(429, {"Retry-After": "1"})
    raw.lpush(KEYS.deliveries, delivery(receiver.url, "linked", Artifact.model_validate({**seen, **old})))
    receiver.wait_for(1)
    receiver.reply(204)

    requests = receiver.wait_for(2)

    assert len({request.headers["webhook-id"] for request in requests}) == 1
    artifacts = [request.event.data.artifacts[0] for request in requests if isinstance(request.event.data, JobResult)]
    assert all("/images/linked/0.png?" in (each.url or "") for each in artifacts)
    first, second = (each.url_expires_at for each in artifacts)
    assert first
    assert second
    assert first + timedelta(seconds=1) <= second
    for request in requests:
        assert Webhook(SECRETS[1]).verify(request.body, dict(request.headers))
