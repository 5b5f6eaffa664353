"""The users of docs/security.md: what each may do in Redis is enough, and no more than it says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.support.redis import RedisServer

from imagefleet import Client, JobStatus
from imagefleet.errors import QueueUnavailable

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
RULES = dict(re.findall(r"^ACL SETUSER (\S+) on >\S+ (.+)$", PAGE.read_text(), re.MULTILINE))
#: What KEDA's redis trigger does with a key (its issue 7758 quotes the script).
COUNT = "local t = redis.call('type', KEYS[1]).ok; return redis.call(t == 'zset' and 'zcard' or 'llen', KEYS[1])"


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
    assert set(RULES) == {"worker", "producer", "scaler"}


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


def test_a_scaler_counts_lists_and_leases_and_reads_nothing(server: RedisServer) -> None:
    with redis.Redis.from_url(server.url) as raw:
        raw.lpush("fleet:imagefleet.sdxl", "a prompt")
        raw.zadd("fleet:imagefleet:leases", {"a": 1})
    with redis.Redis.from_url(url(server, "scaler")) as scaler:
        for key in ("fleet:imagefleet.sdxl", "fleet:imagefleet:leases"):
            assert scaler.eval(COUNT, 1, key) == 1
        with pytest.raises(redis.exceptions.NoPermissionError):
            scaler.lrange("fleet:imagefleet.sdxl", 0, -1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            scaler.delete("fleet:imagefleet.sdxl")


@pytest.mark.parametrize("user", ["worker", "producer"])
def test_no_user_gets_at_what_is_not_the_fleets(server: RedisServer, user: str) -> None:
    with redis.Redis.from_url(url(server, user)) as raw:
        for command in (("GET", "other"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.ResponseError):
                raw.execute_command(*command)
    with Client(url(server, user), key_prefix="theirs:") as client, pytest.raises(QueueUnavailable):
        client.submit("a red fox")
