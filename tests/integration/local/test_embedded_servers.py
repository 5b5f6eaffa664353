"""The embedded servers and the tests' own receiver."""

from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis
from tests.support.servers.s3 import S3
from tests.support.servers.webhook_receiver import Receiver

from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.local.redis_server import EmbeddedRedis
from imagefleet_worker.supervision.child_process import ChildProcess


def test_embedded_redis_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    try:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            client.set("key", "value")
        server.restart()
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            assert client.get("key") == "value"
    finally:
        server.stop()
    assert server.child is not None
    assert not server.child.is_running


def test_embedded_redis_that_cannot_listen_says_why(tmp_path: Path, redis_url: str) -> None:
    taken = int(redis_url.rpartition(":")[2].partition("/")[0])
    server = EmbeddedRedis(tmp_path, port=taken)
    with pytest.raises(LocalUnavailable, match=str(taken)):
        server.start()


def test_embedded_s3_stores_and_gives_back(s3: S3) -> None:
    s3.client.put_object(Bucket=s3.bucket, Key="a/b.png", Body=b"image")
    assert s3.keys() == ["a/b.png"]
    assert s3.client.get_object(Bucket=s3.bucket, Key="a/b.png")["Body"].read() == b"image"


def test_embedded_s3_keeps_connections_open_and_keys_as_they_are(s3: S3) -> None:
    """A worker and the server would spend a part of each upload on a new connection."""
    s3.client.put_object(Bucket=s3.bucket, Key="a b/ü%2Fc+d.txt", Body=b"hello")
    assert s3.keys() == ["a b/ü%2Fc+d.txt"]
    address = urlsplit(s3.client.generate_presigned_url("get_object", {"Bucket": s3.bucket, "Key": s3.keys()[0]}))
    connection = HTTPConnection(address.netloc, timeout=10)
    connection.auto_open = 0
    connection.connect()
    with closing(connection):
        for _ in range(3):
            connection.request("GET", f"{address.path}?{address.query}")
            assert connection.getresponse().read() == b"hello"


def test_receiver_keeps_requests_and_answers_as_told(receiver: Receiver) -> None:
    receiver.reply(503, {"Retry-After": "7"})
    response = httpx.post(receiver.url, content=b"{}", trust_env=False)
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert receiver.wait_for(1)[0].body == b"{}"


def test_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    child = ChildProcess("stubborn", ["sh", "-c", "trap '' TERM; echo on; while :; do :; done"], log=tmp_path / "log")
    while "on" not in child.output():
        assert child.is_running
    assert child.stop(0.2) == -9
    assert not child.is_running
