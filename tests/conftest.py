"""The real parts that tests ask for by name."""

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from tests.support.servers.redis import RedisServer
from tests.support.servers.s3 import S3, s3_server

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.support.scheduling import RoomScheduling
from tests.support.servers.webhook_receiver import Receiver

if TYPE_CHECKING:
    from tests.support.models.engines import Engines


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes of the tests: a shell that runs this in the background has them ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "RoomScheduling":
    """With `-n`, files that share a fleet run in one process."""
    from tests.support.scheduling import RoomScheduling  # noqa: PLC0415  # there may be no pytest-xdist

    return RoomScheduling(config, log)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("IMAGEFLEET_") and not name.startswith("IMAGEFLEET_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server that tests share; one that stops or kills it starts its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of a real Redis server without any keys."""
    with redis_py.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def _s3_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture
def s3(_s3_session: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An empty bucket of a real S3 server; its credentials are in the environment, as boto3 looks for them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, _s3_session.env[name])
    _s3_session.empty()
    return _s3_session


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A real HTTP receiver of webhooks."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


@pytest.fixture(scope="session")
def engines() -> Iterator["Engines"]:
    """Engines on the tiny pipelines, loaded once for all tests."""
    from tests.support.models.engines import Engines  # noqa: PLC0415  # torch takes seconds; most tests do without

    engines = Engines()
    yield engines
    engines.close()
