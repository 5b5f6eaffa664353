"""What the doctor says of Redis, the bucket and the clock, on real servers that are wrong in one way each."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis as redis_py
from tests.support.doctor import context
from tests.support.servers.redis import RedisServer
from tests.support.servers.s3 import S3
from tests.support.servers.wrong_s3 import WrongS3
from tests.support.waiting import wait_until

from imagefleet_worker.doctor.checks.redis import check_redis
from imagefleet_worker.doctor.checks.services import check_bucket, check_clock, check_links
from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, CheckStatus
from imagefleet_worker.doctor.registry import run_checks
from imagefleet_worker.supervision.child_process import free_port

SERVER_CHECKS = ("redis", "aof", "eviction")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that keeps what it takes."""
    with RedisServer(tmp_path_factory.mktemp("redis"), append_only=True) as server:
        yield server


def look(url: str, *checks: str) -> dict[str, CheckResult]:
    with context(redis={"url": url, "socket_timeout_s": 2}) as examined:
        found = run_checks(examined, chosen=checks or SERVER_CHECKS)
    return {finding.check: finding.outcome for finding in found}


def test_a_good_redis_is_found_good(server):
    found = look(server.url)
    assert [found[name].status for name in SERVER_CHECKS] == [CheckStatus.OK] * 3
    assert found["aof"].facts["appendfsync"] == "everysec"


def test_a_redis_without_append_only_files_fails_unless_a_replica_has_a_copy(tmp_path: Path):
    with RedisServer(tmp_path / "main") as main:
        assert look(main.url)["aof"].status is CheckStatus.FAILED
        assert "CONFIG SET appendonly yes" in look(main.url)["aof"].sentence
        with RedisServer(tmp_path / "replica") as replica, redis_py.Redis.from_url(replica.url) as client:
            client.replicaof("127.0.0.1", main.port)
            with redis_py.Redis.from_url(main.url) as other:
                wait_until(lambda: other.info("replication")["connected_slaves"] == 1, 20)
            outcome = look(main.url)["aof"]
            assert outcome.status is CheckStatus.WARNING
            assert outcome.facts["replicas"] == 1


@pytest.mark.parametrize(("maxmemory", "status"), [("0", CheckStatus.WARNING), ("100mb", CheckStatus.FAILED)])
def test_a_redis_that_evicts_is_found_out(server, maxmemory, status):
    with redis_py.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", maxmemory)
        try:
            outcome = look(server.url)["eviction"]
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "0")
    assert outcome.status is status
    assert "allkeys-lru" in outcome.sentence
    assert "CONFIG SET maxmemory-policy noeviction" in outcome.sentence


def test_a_redis_that_rarely_writes_to_its_disk_is_a_warning(server):
    with redis_py.Redis.from_url(server.url) as client:
        client.config_set("appendfsync", "no")
        try:
            outcome = look(server.url)["aof"]
        finally:
            client.config_set("appendfsync", "everysec")
    assert outcome.status is CheckStatus.WARNING
    assert "everysec" in outcome.sentence


def test_what_a_user_may_not_ask_is_a_warning_and_the_rest_is_checked(server):
    with redis_py.Redis.from_url(server.url) as client:
        client.execute_command("ACL SETUSER worker on >secret ~* &* +@all -config -info")
        client.execute_command("ACL SETUSER hosted on >secret ~* &* +@all -config")
    found = look(server.url.replace("//", "//worker:secret@"))
    assert {found[name].status for name in SERVER_CHECKS} == {CheckStatus.WARNING}
    assert "may not ask" in found["aof"].sentence
    hosted = look(server.url.replace("//", "//hosted:secret@"))
    assert {hosted[name].status for name in SERVER_CHECKS} == {CheckStatus.OK}
    assert hosted["aof"].facts["appendfsync"] is None


def test_a_redis_that_is_not_there_fails_and_names_the_setting():
    found = look(f"redis://127.0.0.1:{free_port()}/0")
    assert {found[name].status for name in SERVER_CHECKS} == {CheckStatus.FAILED}
    assert "IMAGEFLEET_REDIS_URL" in found["redis"].sentence


@pytest.mark.parametrize(
    ("version", "status"), [("5.0.14", CheckStatus.FAILED), ("6.2.14", CheckStatus.WARNING), ("7.0.15", CheckStatus.OK)]
)
def test_an_old_redis_is_told_from_a_new_one(version, status):
    # No such old server can be had as a package, so this one only says that it is one.
    old = SimpleNamespace(info=lambda _section: {"redis_version": version}, eval=lambda *_: 0)
    told = SimpleNamespace(redis=old, settings=SimpleNamespace(redis=SimpleNamespace(key_prefix="")))
    assert check_redis(cast("CheckContext", told)).status is status


def groups(s3: S3, **changed: Any) -> dict[str, Any]:
    own = {"endpoint_url": s3.endpoint_url, "bucket": s3.bucket, "path_style": True, "region": "us-east-1"}
    return {"storage": {**own, "attempts": 1, **changed}}


def bucket(s3: S3, **changed: Any) -> CheckContext:
    return context(**groups(s3, **changed))


def test_a_good_bucket_is_found_good_and_left_as_it_was(s3):
    assert check_bucket(bucket(s3)).status is CheckStatus.OK
    assert s3.keys() == []


def test_an_s3_that_ignores_conditions_fails(s3):
    with closing(WrongS3(s3.endpoint_url)) as wrong:
        outcome = check_bucket(bucket(s3, endpoint_url=wrong.url))
    assert outcome.status is CheckStatus.FAILED
    assert "ignores If-None-Match" in outcome.sentence


def test_a_link_is_followed_and_leaves_nothing(s3):
    assert check_links(bucket(s3)).status is CheckStatus.OK
    assert s3.keys() == []


def test_a_link_to_a_host_that_nobody_reaches_names_the_setting(s3):
    outcome = check_links(bucket(s3, public_url="http://127.0.0.1:9"))

    assert outcome.status is CheckStatus.FAILED
    assert "IMAGEFLEET_STORAGE_PUBLIC_URL" in outcome.sentence
    assert s3.keys() == []


def test_a_bucket_that_is_not_there_fails(s3):
    (found,) = (f for f in run_checks(bucket(s3, bucket="no-such-bucket"), chosen=["bucket"]) if f.check == "bucket")
    assert found.outcome.status is CheckStatus.FAILED
    assert "NoSuchBucket" in found.outcome.sentence


def clock(s3: S3, redis_url: str, *, ahead_s: float = 0, **storage: Any) -> CheckResult:
    with context(redis={"url": redis_url}, **groups(s3, **storage)) as examined:
        return check_clock(examined, now=lambda: time.time() + ahead_s)


@pytest.mark.parametrize(
    ("ahead_s", "status", "words"),
    [
        (0, CheckStatus.OK, "within 2 s of Redis and S3"),
        (10, CheckStatus.WARNING, "ahead of"),
        (-10, CheckStatus.WARNING, "behind"),
        (3600, CheckStatus.FAILED, "3600"),
    ],
)
def test_a_wrong_clock_of_this_machine_is_found_out(s3, server, ahead_s, status, words):
    outcome = clock(s3, server.url, ahead_s=ahead_s)
    assert outcome.status is status
    assert words in outcome.sentence
    assert abs(cast("float", outcome.facts["redis_skew_s"]) - ahead_s) < 1
    assert abs(cast("float", outcome.facts["s3_skew_s"]) - ahead_s) < 2


def test_a_wrong_clock_of_s3_is_told_from_that_of_redis(s3, server):
    with closing(WrongS3(s3.endpoint_url, behind_s=120)) as wrong:
        outcome = clock(s3, server.url, endpoint_url=wrong.url)
    assert outcome.status is CheckStatus.FAILED
    assert "ahead of S3" in outcome.sentence
    assert abs(cast("float", outcome.facts["redis_skew_s"])) < 1


def test_where_nobody_tells_the_time_it_is_a_warning():
    nowhere = f"127.0.0.1:{free_port()}"
    examined = context(
        redis={"url": f"redis://{nowhere}/0"}, storage={"bucket": "images", "endpoint_url": f"http://{nowhere}"}
    )
    assert check_clock(examined).status is CheckStatus.WARNING
