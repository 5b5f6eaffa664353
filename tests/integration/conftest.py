"""Real parts that only integration tests need."""

from collections.abc import Iterator

import pytest
import redis

from imagefleet import Client


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
