"""The users of docs/security.md: what each may do in Redis is enough, and no more than it says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.support.servers.redis import RedisServer

from imagefleet import Client, JobStatus
from imagefleet.errors import QueueUnavailable

PAGE = Path(__file__).parents[3] / "docs" / "security.md"
RULES = dict(re.findall(r"^ACL SETUSER (\S+) on >\S+ (.+)$", PAGE.read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        with redis.Redis.from_url(server.url) as raw:
            for user, rules in RULES.items():
                raw.execute_command("ACL", "SETUSER", user, "on", ">word", *rules.split())
        yield server


def url(server: RedisServer, user: str) -> str:
    return server.url.replace("redis://", f"redis://{user}:word@")


def client_of(server: RedisServer, user: str) -> Client:
    return Client(url(server, user), key_prefix="fleet:")


def test_the_page_has_a_user_for_each_part() -> None:
    assert set(RULES) == {"worker", "producer"}


def test_a_producer_submits_looks_waits_and_cancels(server: RedisServer) -> None:
    with client_of(server, "producer") as client:
        job_id = client.submit("a red fox")
        ids = client.submit_many(["a", "b"])
        assert client.queue_length("default") == 3
        assert client.outlook(ids[1]).position == 3
        assert client.outlook(client.submit("c", model="other", tenant="acme")).position == 1
        assert client.cancel(job_id) is JobStatus.CANCELED
        assert client.result(job_id, timeout_s=5).status is JobStatus.CANCELED
        assert [client.get(each).status for each in ids] == [JobStatus.QUEUED] * 2


def test_both_look_at_the_queues_as_autoscalers_do(server: RedisServer) -> None:
    with client_of(server, "producer") as producer, client_of(server, "worker") as worker:
        producer.submit("a red fox", model="counted")
        for client in (producer, worker):
            [queue] = [each for each in client.queues() if each.name == "imagefleet.counted"]
            assert (queue.waiting, queue.running, queue.due, queue.demand) == (1, 0, 0, 1)


@pytest.mark.parametrize("user", ["worker", "producer"])
def test_no_user_gets_at_what_is_not_the_fleets(server: RedisServer, user: str) -> None:
    with redis.Redis.from_url(url(server, user)) as raw:
        for command in (("GET", "other"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.ResponseError):
                raw.execute_command(*command)
    with Client(url(server, user), key_prefix="theirs:") as client, pytest.raises(QueueUnavailable):
        client.submit("a red fox")
