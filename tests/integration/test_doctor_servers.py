"""What the doctor says of Redis, the bucket and the clock, on real servers that are wrong in one way each."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis as redis_py
from tests.support.doctor import subject
from tests.support.redis import RedisServer
from tests.support.s3 import S3
from tests.support.waiting import wait_until
from tests.support.wrong_s3 import WrongS3

from imagefleet_worker.children import free_port
from imagefleet_worker.doctor.bucket import check_bucket
from imagefleet_worker.doctor.checkup import examine
from imagefleet_worker.doctor.clock import check_clock
from imagefleet_worker.doctor.findings import Outcome, Verdict
from imagefleet_worker.doctor.queue_server import check_redis
from imagefleet_worker.doctor.subject import Subject

SERVER_CHECKS = ("redis", "aof", "eviction")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that keeps what it takes."""
    with RedisServer(tmp_path_factory.mktemp("redis"), append_only=True) as server:
        yield server


def look(url: str, *checks: str) -> dict[str, Outcome]:
    with subject(redis={"url": url, "socket_timeout_s": 2}) as examined:
        found = examine(examined, chosen=checks or SERVER_CHECKS)
    return {finding.check: finding.outcome for finding in found}


def test_a_good_redis_is_found_good(server):
    found = look(server.url)
    assert [found[name].verdict for name in SERVER_CHECKS] == [Verdict.OK] * 3
    assert found["aof"].facts["appendfsync"] == "everysec"


def test_a_redis_without_append_only_files_fails_unless_a_replica_has_a_copy(tmp_path: Path):
    with RedisServer(tmp_path / "main") as main:
        assert look(main.url)["aof"].verdict is Verdict.FAILED
        assert "CONFIG SET appendonly yes" in look(main.url)["aof"].sentence
        with RedisServer(tmp_path / "replica") as replica, redis_py.Redis.from_url(replica.url) as client:
            client.replicaof("127.0.0.1", main.port)
            with redis_py.Redis.from_url(main.url) as other:
                wait_until(lambda: other.info("replication")["connected_slaves"] == 1, 20)
            outcome = look(main.url)["aof"]
            assert outcome.verdict is Verdict.WARNING
            assert outcome.facts["replicas"] == 1


@pytest.mark.parametrize(("maxmemory", "verdict"), [("0", Verdict.WARNING), ("100mb", Verdict.FAILED)])
def test_a_redis_that_evicts_is_found_out(server, maxmemory, verdict):
    with redis_py.Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", maxmemory)
        try:
            outcome = look(server.url)["eviction"]
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "0")
    assert outcome.verdict is verdict
    assert "allkeys-lru" in outcome.sentence
    assert "CONFIG SET maxmemory-policy noeviction" in outcome.sentence


def test_a_redis_that_rarely_writes_to_its_disk_is_a_warning(server):
    with redis_py.Redis.from_url(server.url) as client:
        client.config_set("appendfsync", "no")
        try:
            outcome = look(server.url)["aof"]
        finally:
            client.config_set("appendfsync", "everysec")
    assert outcome.verdict is Verdict.WARNING
    assert "everysec" in outcome.sentence


def test_what_a_user_may_not_ask_is_a_warning_and_the_rest_is_checked(server):
    with redis_py.Redis.from_url(server.url) as client:
        client.execute_command("ACL SETUSER worker on >secret ~* &* +@all -config -info")
        client.execute_command("ACL SETUSER hosted on >secret ~* &* +@all -config")
    found = look(server.url.replace("//", "//worker:secret@"))
    assert {found[name].verdict for name in SERVER_CHECKS} == {Verdict.WARNING}
    assert "may not ask" in found["aof"].sentence
    hosted = look(server.url.replace("//", "//hosted:secret@"))
    assert {hosted[name].verdict for name in SERVER_CHECKS} == {Verdict.OK}
    assert hosted["aof"].facts["appendfsync"] is None


def test_a_redis_that_is_not_there_fails_and_names_the_setting():
    found = look(f"redis://127.0.0.1:{free_port()}/0")
    assert {found[name].verdict for name in SERVER_CHECKS} == {Verdict.FAILED}
    assert "IMAGEFLEET_REDIS_URL" in found["redis"].sentence


@pytest.mark.parametrize(
    ("version", "verdict"), [("5.0.14", Verdict.FAILED), ("6.2.14", Verdict.WARNING), ("7.0.15", Verdict.OK)]
)
def test_an_old_redis_is_told_from_a_new_one(version, verdict):
    # No such old server can be had as a package, so this one only says that it is one.
    told = SimpleNamespace(redis=SimpleNamespace(info=lambda _section: {"redis_version": version}))
    assert check_redis(cast("Subject", told)).verdict is verdict


def groups(s3: S3, **changed: Any) -> dict[str, Any]:
    own = {"endpoint_url": s3.endpoint_url, "bucket": s3.bucket, "path_style": True, "region": "us-east-1"}
    return {"storage": {**own, "attempts": 1, **changed}}


def bucket(s3: S3, **changed: Any) -> Subject:
    return subject(**groups(s3, **changed))


def test_a_good_bucket_is_found_good_and_left_as_it_was(s3):
    assert check_bucket(bucket(s3)).verdict is Verdict.OK
    assert s3.keys() == []


def test_an_s3_that_ignores_conditions_fails(s3):
    with closing(WrongS3(s3.endpoint_url)) as wrong:
        outcome = check_bucket(bucket(s3, endpoint_url=wrong.url))
    assert outcome.verdict is Verdict.FAILED
    assert "ignores If-None-Match" in outcome.sentence


def test_a_bucket_that_is_not_there_fails(s3):
    (found,) = (f for f in examine(bucket(s3, bucket="no-such-bucket"), chosen=["bucket"]) if f.check == "bucket")
    assert found.outcome.verdict is Verdict.FAILED
    assert "NoSuchBucket" in found.outcome.sentence


def clock(s3: S3, redis_url: str, *, ahead_s: float = 0, **storage: Any) -> Outcome:
    with subject(redis={"url": redis_url}, **groups(s3, **storage)) as examined:
        return check_clock(examined, now=lambda: time.time() + ahead_s)


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "words"),
    [
        (0, Verdict.OK, "within 2 s of Redis and S3"),
        (10, Verdict.WARNING, "ahead of"),
        (-10, Verdict.WARNING, "behind"),
        (3600, Verdict.FAILED, "3600"),
    ],
)
def test_a_wrong_clock_of_this_machine_is_found_out(s3, server, ahead_s, verdict, words):
    outcome = clock(s3, server.url, ahead_s=ahead_s)
    assert outcome.verdict is verdict
    assert words in outcome.sentence
    assert abs(cast("float", outcome.facts["redis_skew_s"]) - ahead_s) < 1
    assert abs(cast("float", outcome.facts["s3_skew_s"]) - ahead_s) < 2


def test_a_wrong_clock_of_s3_is_told_from_that_of_redis(s3, server):
    with closing(WrongS3(s3.endpoint_url, behind_s=120)) as wrong:
        outcome = clock(s3, server.url, endpoint_url=wrong.url)
    assert outcome.verdict is Verdict.FAILED
    assert "ahead of S3" in outcome.sentence
    assert abs(cast("float", outcome.facts["redis_skew_s"])) < 1


def test_where_nobody_tells_the_time_it_is_a_warning():
    nowhere = f"127.0.0.1:{free_port()}"
    examined = subject(
        redis={"url": f"redis://{nowhere}/0"}, storage={"bucket": "images", "endpoint_url": f"http://{nowhere}"}
    )
    assert check_clock(examined).verdict is Verdict.WARNING
