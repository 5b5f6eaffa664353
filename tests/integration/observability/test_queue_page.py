"""What an autoscaler reads of a queue over HTTP: each message counts once, in its own queue, on a real Redis."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis as redis_py
from prometheus_client.parser import text_string_to_metric_families

from imagefleet import Client
from imagefleet.contract import messages
from imagefleet.contract.queues import DELIVER_TASK, WEBHOOK_QUEUE, queue_for
from imagefleet.store.keys import Keys
from imagefleet_worker.observability.collector import Sources
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.observability.metrics_server import MetricsServer
from imagefleet_worker.observability.queue_reader import QueueReader
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.settings import MetricsSettings
from imagefleet_worker.supervision.child_process import free_port

KEYS = Keys("team:")
SDXL, FLUX = queue_for("sdxl"), queue_for("flux.1")
Get = Callable[..., httpx.Response]


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url, key_prefix=KEYS.prefix) as client:
        yield client


@pytest.fixture
def leases(raw: "redis_py.Redis") -> Iterator[Leases]:
    """The claims of one worker process."""
    leases = Leases(raw, keys=KEYS, duration_s=30)
    yield leases
    leases.close()


@pytest.fixture
def page(raw: "redis_py.Redis") -> Iterator[MetricsServer]:
    """What a sender of webhooks serves."""
    sources = Sources(queues=QueueReader(raw, KEYS, (WEBHOOK_QUEUE,)))
    page = MetricsServer(Metrics(model="", sources=sources), MetricsSettings(port=free_port(), address="127.0.0.1"))
    page.start()
    yield page
    page.stop()


@pytest.fixture
def get(page: MetricsServer) -> Get:
    def get(queue: str, **query: Any) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{page.port}/queues/{queue}", params=query, timeout=20)

    return get


def counts(response: httpx.Response) -> dict[str, int]:
    assert response.status_code == 200
    return {name: value for name, value in response.json().items() if name != "queue"}


def test_each_message_counts_once_and_in_its_own_queue(
    client: Client, raw: "redis_py.Redis", leases: Leases, get: Get
) -> None:
    """Two jobs of one model run, one of each waits, whatever its priority and tenant; four deliveries run."""
    client.submit_many([{"prompt": "a fox", "model": "sdxl", "priority": 9}] * 2)
    for _ in range(2):
        assert leases.claim([SDXL])
    client.submit("a cat", model="sdxl", tenant="acme", priority=0)
    client.submit("a whale", model="flux.1")
    for number in range(4):
        raw.lpush(KEYS.deliveries, messages.encode(DELIVER_TASK, {}, message_id=str(number), queue=WEBHOOK_QUEUE))
        assert leases.claim([WEBHOOK_QUEUE])

    assert counts(get(SDXL)) == {"waiting": 1, "running": 2, "due": 0, "demand": 3}
    assert counts(get(FLUX)) == {"waiting": 1, "running": 0, "due": 0, "demand": 1}
    assert counts(get(WEBHOOK_QUEUE)) == {"waiting": 0, "running": 4, "due": 0, "demand": 4}
    shown = {queue.name: (queue.waiting, queue.running, queue.due, queue.demand) for queue in client.queues()}
    assert shown == {SDXL: (1, 2, 0, 3), FLUX: (1, 0, 0, 1), WEBHOOK_QUEUE: (0, 4, 0, 4)}


def test_a_delayed_job_is_demand_from_the_time_that_a_worker_needs_to_start(
    client: Client, raw: "redis_py.Redis", leases: Leases, get: Get
) -> None:
    """Also one that is overdue, because nobody has been there to put it into its list."""
    for due_in_s in (50, 100, 200, 9000):
        client.submit("a fox", model="sdxl", priority=9)
        claimed = leases.claim([SDXL])
        assert claimed
        leases.postpone(claimed.token, due_in_s=due_in_s)
    leases.close()
    raw.zadd(KEYS.delayed, {raw.zrange(KEYS.delayed, 0, 0)[0]: 1})

    def due(queue: str, **query: Any) -> tuple[int, int]:
        found = counts(get(queue, **query))
        return found["due"], found["demand"]

    assert due(SDXL, due_within_s=0) == (1, 1)
    assert due(SDXL, due_within_s=150) == (2, 2)
    assert due(SDXL, due_within_s=300) == (3, 3)
    assert due(SDXL) == (2, 2)  # two minutes, unless a setting says otherwise
    assert due(FLUX, due_within_s=300) == (0, 0)
    [queue] = client.queues()
    assert (queue.delayed, queue.due, queue.demand) == (4, 2, 2)


def test_a_sender_reports_the_queues_of_models_without_a_worker(client: Client, page: MetricsServer) -> None:
    client.submit("a fox", model="sdxl")

    text = httpx.get(f"http://127.0.0.1:{page.port}/metrics", timeout=20).text

    lines = [line for family in text_string_to_metric_families(text) for line in family.samples]
    found = {(line.name, line.labels.get("queue", "")): line.value for line in lines}
    assert found["imagefleet_queue_demand", SDXL] == found["imagefleet_queue_depth", SDXL] == 1
    assert found["imagefleet_queue_running", SDXL] == found["imagefleet_delayed", ""] == 0
    assert found["imagefleet_queue_demand", WEBHOOK_QUEUE] == 0


def test_a_model_whose_first_job_has_not_come_has_no_demand(get: Get) -> None:
    """An error would keep its last pod."""
    assert counts(get(SDXL))["demand"] == 0


@pytest.mark.parametrize(
    ("queue", "query", "status"),
    [("celery", {}, 404), ("", {}, 404), (SDXL, {"due_within_s": "soon"}, 400), (SDXL, {"due_within_s": "nan"}, 400)],
)
def test_what_cannot_be_answered_is_an_error_with_a_sentence(get: Get, queue: str, query: Any, status: int) -> None:
    response = get(queue, **query)
    assert response.status_code == status
    assert response.json()["error"]


def test_without_redis_the_page_is_an_error_and_no_zero() -> None:
    """A zero would end all pods of the model."""
    nobody = redis_py.Redis(port=free_port(), socket_timeout=1)
    sources = Sources(queues=QueueReader(nobody, KEYS, (WEBHOOK_QUEUE,)))
    settings = MetricsSettings(port=free_port(), address="127.0.0.1")
    lonely = MetricsServer(Metrics(model="", sources=sources), settings)
    lonely.start()
    try:
        response = httpx.get(f"http://127.0.0.1:{lonely.port}/queues/{SDXL}", timeout=20)
    finally:
        lonely.stop()
    assert response.status_code == 503
    assert json.loads(response.text) == {"error": "Redis does not answer: ask again later"}
