"""Real parts that only integration tests need."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import redis

from imagefleet import Client

if TYPE_CHECKING:
    from tests.support.engines import Engines


@pytest.fixture(scope="session")
def engines() -> Iterator["Engines"]:
    """Engines on the tiny pipelines, loaded once for all tests."""
    from tests.support.engines import Engines  # noqa: PLC0415  # torch takes seconds; most tests do without

    engines = Engines()
    yield engines
    engines.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    """A client of the empty Redis."""
    with Client(redis_url) as client:
        yield client


@pytest.fixture
def raw(redis_url: str) -> Iterator["redis.Redis"]:
    """A plain client of the same."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        yield raw
