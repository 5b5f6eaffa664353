"""The page of metrics over HTTP, beside a Redis that goes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis as redis_py
from prometheus_client.parser import text_string_to_metric_families
from tests.support.servers.redis import RedisServer

from imagefleet import Client
from imagefleet.errors import SettingsInvalid
from imagefleet.store.keys import Keys
from imagefleet_worker.observability.collector import Sources
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.observability.metrics_server import MetricsServer
from imagefleet_worker.observability.queue_reader import QueueReader
from imagefleet_worker.settings import MetricsSettings
from imagefleet_worker.supervision.child_process import free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server of this test's own."""
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def page(redis_url: str) -> Iterator[MetricsServer]:
    """The metrics of a worker of the model `sdxl`, served."""
    client = redis_py.Redis.from_url(redis_url, decode_responses=True, socket_timeout=1)
    sources = Sources(queues=QueueReader(client, queues=("imagefleet.sdxl", "imagefleet.webhooks")))
    settings = MetricsSettings(port=free_port(), address="127.0.0.1")
    page = MetricsServer(Metrics(model="sdxl", sources=sources), settings)
    page.start()
    yield page
    page.stop()
    client.close()


def scrape(page: MetricsServer) -> dict[tuple[str, str], float]:
    """Each value by its name and its queue."""
    text = httpx.get(f"http://127.0.0.1:{page.port}/metrics", timeout=20).text
    families = text_string_to_metric_families(text)
    return {(line.name, line.labels.get("queue", "")): line.value for each in families for line in each.samples}


def test_the_page_counts_what_waits_and_for_how_long(page: MetricsServer, redis_url: str) -> None:
    """In all levels of a queue; a message without a record has no age, and an empty queue's oldest is 0."""
    keys = Keys()
    assert scrape(page)["imagefleet_queue_oldest_seconds", "imagefleet.sdxl"] == 0
    with Client(redis_url) as client, redis_py.Redis.from_url(redis_url) as raw:
        oldest = client.submit("a fox", model="sdxl", priority=1)
        client.submit("a whale", model="sdxl", priority=9)
        client.submit("a cat", model="sdxl")
        raw.hincrbyfloat(keys.job(oldest), "queued_at", -100)
        raw.lpush("imagefleet.webhooks", "no JSON", json.dumps({"headers": {"id": "unknown"}}), json.dumps([1]))
        raw.hset(keys.dead, "a", "{}")
        found = scrape(page)

    assert found["imagefleet_queue_depth", "imagefleet.sdxl"] == 3
    assert 100 <= found["imagefleet_queue_oldest_seconds", "imagefleet.sdxl"] < 160
    assert found["imagefleet_queue_depth", "imagefleet.webhooks"] == 3
    assert ("imagefleet_queue_oldest_seconds", "imagefleet.webhooks") not in found
    assert found["imagefleet_dead_letters", ""] == 1


def test_the_page_comes_without_redis_too(server: RedisServer) -> None:
    """In time, and without the numbers that only Redis knows."""
    with redis_py.Redis.from_url(server.url, socket_timeout=1) as client:
        metrics = Metrics(model="sdxl", sources=Sources(queues=QueueReader(client, queues=("imagefleet.sdxl",))))
        assert b'imagefleet_queue_depth{queue="imagefleet.sdxl"} 0' in metrics.page()
        server.pause()
        began = time.monotonic()
        without = metrics.page()

    assert time.monotonic() - began < 10
    assert b"imagefleet_queue_depth{" not in without
    assert b"imagefleet_steps_total 0.0" in without


def test_a_port_that_is_taken_is_a_wrong_setting(page: MetricsServer) -> None:
    """With the variable's name in the sentence; and without a port there is no page."""
    metrics = Metrics(model="sdxl")
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_METRICS_PORT"):
        MetricsServer(metrics, MetricsSettings(port=page.port, address="127.0.0.1")).start()

    without = MetricsServer(metrics, MetricsSettings())
    without.start()
    assert without.port is None
    without.stop()
