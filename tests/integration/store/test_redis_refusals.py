"""Servers that cannot hold the queue, or not now: clients, workers and the doctor say why, and what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py
from structlog.testing import capture_logs
from tests.support.doctor import context
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until

from imagefleet import Client, QueueUnavailable
from imagefleet.store.redis_refusals import explain
from imagefleet_worker.doctor.checks.redis import check_redis as doctor_checks
from imagefleet_worker.doctor.outcome import CheckStatus
from imagefleet_worker.process.redis_check import check_redis
from imagefleet_worker.supervision.child_process import free_port


class ClusterNode(RedisServer):
    """The only node of a Redis Cluster: it has all slots."""

    def _command(self) -> list[str]:
        return [*super()._command(), "--cluster-enabled", "yes", "--cluster-port", str(free_port())]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with ClusterNode(tmp_path_factory.mktemp("cluster")) as server:
        with redis_py.Redis.from_url(server.url, decode_responses=True) as raw:
            raw.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: raw.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 10)
        yield server


@pytest.fixture
def full(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server, redis_py.Redis.from_url(server.url) as raw:
        raw.config_set("maxmemory", "1")
        yield server


def test_a_cluster_is_named_by_the_client_and_the_doctor(cluster: RedisServer) -> None:
    said = r"it is a Redis Cluster.*docs/scaling\.md"
    with Client(cluster.url) as client, pytest.raises(QueueUnavailable, match=said):
        client.submit("a fox")
    with context(redis={"url": cluster.url}) as examined:
        found = doctor_checks(examined)

    assert (found.status, "it is a Redis Cluster" in found.sentence) == (CheckStatus.FAILED, True)


def test_a_full_server_is_named_by_the_client_and_the_doctor(full: RedisServer) -> None:
    said = r"it is full \(maxmemory\).*raise maxmemory"
    with Client(full.url) as client, pytest.raises(QueueUnavailable, match=said):
        client.submit("a fox")
    with context(redis={"url": full.url}) as examined:
        found = doctor_checks(examined)

    assert (found.status, "it is full" in found.sentence) == (CheckStatus.FAILED, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("script tried accessing undeclared key", "as Dragonfly does"),
        ("ERR Error running script: Script attempted to access a non-local key in a cluster node", "a Redis Cluster"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "it is full"),
    ],
)
def test_the_words_of_other_servers_and_versions_are_known(text: str, words: str) -> None:
    assert words in explain(redis_py.ResponseError(text))


def test_any_other_error_is_left_as_it_is() -> None:
    assert explain(redis_py.ResponseError("WRONGTYPE Operation against a key")) == ""


@pytest.mark.parametrize(("policy", "warnings"), [("allkeys-lru", 1), ("noeviction", 0)])
def test_a_worker_logs_a_policy_that_would_throw_jobs_away(
    redis_server: RedisServer, policy: str, warnings: int
) -> None:
    with redis_py.Redis.from_url(redis_server.url, decode_responses=True) as raw:
        before = str(raw.config_get("maxmemory-policy")["maxmemory-policy"])
        raw.config_set("maxmemory-policy", policy)
        with capture_logs() as logs:
            check_redis(raw, redis_server.url)
        raw.config_set("maxmemory-policy", before)

    assert len([each for each in logs if "throws keys away" in each["event"]]) == warnings


def test_a_worker_ends_with_69_where_nothing_answers() -> None:
    with redis_py.Redis(port=1) as nobody, pytest.raises(SystemExit) as ended:
        check_redis(nobody, "redis://:geheim@127.0.0.1:1/0")

    assert ended.value.code == 69
