"""What KEDA reads by the chart's ScaledObjects: from a real sender, on a real Redis, with a slow receiver."""

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis as redis_py
from tests.chart.rendering import Object, of_kind, render
from tests.support.fleet.processes import running_worker
from tests.support.servers.redis import RedisServer
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.contract import messages
from imagefleet.contract.queues import DELIVER_TASK, WEBHOOK_QUEUE, queue_for
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.store.keys import Keys
from imagefleet.webhooks import Delivery, Event
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.supervision.child_process import free_port

KEYS = Keys("team:")
#: A pod takes 180 s to its first job, and makes 4 jobs at the same time.
VALUES: Object = {"autoscaling": {"unit": "jobs"}, "modelDefaults": {"autoscaling": {"startSeconds": 180}}}
Pods = Callable[[str], int]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def raw(server: RedisServer) -> Iterator["redis_py.Redis"]:
    with redis_py.Redis.from_url(server.url, decode_responses=True) as raw:
        yield raw


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Takes a minute for each delivery."""
    receiver = Receiver()
    receiver.reply(204, delay_s=60)
    yield receiver
    receiver.close()


@pytest.fixture
def pods(server: RedisServer, tmp_path: Path) -> Iterator[Pods]:
    """The pods of a model that KEDA wants, while one sender runs."""
    port = free_port()
    env = {
        "IMAGEFLEET_REDIS_URL": server.url,
        "IMAGEFLEET_REDIS_KEY_PREFIX": KEYS.prefix,
        "IMAGEFLEET_WEBHOOK_ALLOW_HOSTS": "127.0.0.0/8",
        "IMAGEFLEET_METRICS_PORT": str(port),
    }
    scalers = of_kind(render("two-models", VALUES), "ScaledObject")

    def pods(name: str) -> int:
        """As KEDA: no pod while the value is not over its activation, else so many that each has its share."""
        spec = scalers[name]["spec"]
        [metadata] = [trigger["metadata"] for trigger in spec["triggers"]]
        asked = urlsplit(metadata["url"])
        response = httpx.get(f"http://127.0.0.1:{port}{asked.path}?{asked.query}", timeout=3).raise_for_status()
        value = float(response.json()[metadata["valueLocation"]])
        if value <= float(metadata["activationTargetValue"]):
            return spec["minReplicaCount"]
        wanted = max(1, math.ceil(value / float(metadata["targetValue"])))
        return min(max(wanted, spec["minReplicaCount"]), spec["maxReplicaCount"])

    with running_worker(env, tmp_path, name="sender", options=("-Q", WEBHOOK_QUEUE, "-c", "4")):
        yield pods


def delivery(url: str, job_id: str) -> str:
    event = Event.for_result(JobResult(id=job_id, status=JobStatus.SUCCEEDED, finished_at=datetime.now(UTC)))
    data = Delivery(url=url, event_id=event.id, body=event.model_dump_json()).model_dump(mode="json")
    return messages.encode(DELIVER_TASK, {"delivery": data}, message_id=event.id, queue=WEBHOOK_QUEUE)


def test_webhooks_start_no_pod_and_jobs_that_wait_run_or_fall_due_do(
    server: RedisServer, raw: "redis_py.Redis", receiver: Receiver, pods: Pods
) -> None:
    sdxl, flux = "r-imagefleet-sdxl", "r-imagefleet-flux-1"
    raw.lpush(KEYS.deliveries, *(delivery(receiver.url, f"job-{number}") for number in range(9)))
    receiver.wait_for(2)
    assert raw.hlen(KEYS.claims) >= 2  # they are under way, and hold leases
    assert (pods(sdxl), pods(flux)) == (0, 1)  # flux has at least one

    worker = Leases(raw, keys=KEYS, duration_s=30)
    with Client(server.url, key_prefix=KEYS.prefix) as client:
        client.submit_many([{"prompt": "a fox", "model": "sdxl"}] * 5)
        assert pods(sdxl) == 2
        running = [worker.claim([queue_for("sdxl")]) for _ in range(5)]
    assert pods(sdxl) == 2  # all of them run, and none waits
    for claimed in running[1:]:
        assert claimed
        worker.ack(claimed.token)
    assert pods(sdxl) == 1
    assert running[0]
    worker.postpone(running[0].token, due_in_s=7200)
    worker.close()
    assert pods(sdxl) == 0  # nobody waits for it yet

    [entry] = raw.zrangebyscore(KEYS.delayed, time.time() + 3600, "+inf")
    raw.zadd(KEYS.delayed, {entry: time.time() + 120})
    assert pods(sdxl) == 1  # it falls due before a pod can be there
    raw.zadd(KEYS.delayed, {entry: time.time() - 1})
    wait_until(lambda: raw.llen(KEYS.list_for(queue_for("sdxl"), 5)) == 1, 10)  # the sender has put it into its list
    assert pods(sdxl) == 1
    assert pods(flux) == 1
