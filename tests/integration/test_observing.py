"""Health and metrics on real parts: a Celery worker that hangs in several ways, a Redis that goes, a page over HTTP."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis as redis_py
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families
from tests.support.processes import start_worker
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.queues import Keys
from imagefleet_worker import beats, health
from imagefleet_worker.children import free_port
from imagefleet_worker.errors import SettingsInvalid
from imagefleet_worker.health import Limits, Verdict
from imagefleet_worker.metrics import Metrics, Page
from imagefleet_worker.settings import MetricsSettings

#: A test cannot wait for the limits of a fleet.
SOON = Limits(frozen_s=3, wedged_s=3, reconnect_s=10, redis_s=6)

#: A worker without a model: its heartbeat is wired as the real one's, and remote control makes it sick.
WORKER = """
import os, threading, time
from celery import Celery, bootsteps, signals
from celery.worker.control import control_command
from imagefleet_worker.heartbeat import Heartbeat
import redis

url = os.environ["TEST_REDIS_URL"]
app = Celery("observed", broker=url)
app.conf.update(worker_pool="threads", broker_connection_retry_on_startup=True, broker_connection_max_retries=None,
                broker_transport_options={"socket_timeout": 2, "socket_connect_timeout": 2})
heartbeat = Heartbeat(os.environ["IMAGEFLEET_HEALTH_FOLDER"])

class Pulse(bootsteps.StartStopStep):
    requires = ("celery.worker.consumer.tasks:Tasks", "celery.worker.consumer.control:Control")
    def start(self, parent):
        heartbeat.consuming(yes=True)
        parent.timer.call_repeatedly(1.0, heartbeat.turn)
    def stop(self, parent):
        heartbeat.consuming(yes=False)

app.steps["consumer"].add(Pulse)

@signals.worker_init.connect
def load(**_):
    while not os.path.exists(os.environ["TEST_MODEL"]):
        threading.Event().wait(0.05)
    heartbeat.watch_redis(redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2))
    heartbeat.loaded()

@signals.worker_shutting_down.connect
def drain(**_):
    heartbeat.draining()

@app.task(name="work")
def work():
    threading.Event().wait()

@control_command()
def wedge(state):
    threading.Event().wait()

@control_command()
def hang(state):
    began = time.monotonic()
    heartbeat.watch_device(lambda: (began, began), timeout_s=1)
"""


class Observed:
    """A worker, and what a probe says about it."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "observed.py").write_text(WORKER)
        self.folder = folder / "health"
        self.model = folder / "model"
        self.app = Celery("observed", broker=url)
        env = {
            "PYTHONPATH": str(folder),
            "TEST_REDIS_URL": url,
            "TEST_MODEL": str(self.model),
            health.FOLDER_VARIABLE: str(self.folder),
        }
        self.child = start_worker(env, folder, app="observed", options=("-c", "2", "--without-gossip"))

    def verdict(self, probe: str) -> Verdict:
        """As `imagefleet-worker health` gives it, with less patience."""
        beat = beats.read(str(self.folder))
        birth = beats.birth_of(beat.pid) if beat else None
        return health.judge(probe, beat, now=beats.now(), birth=birth, limits=SOON)

    def wait_for(self, words: str, *, live: bool, ready: bool = False, timeout_s: float = 30) -> None:
        """Wait until the probes say *words*, and see that they draw the right conclusion."""

        def said() -> bool:
            """The probe says what is the matter."""
            return self.verdict("ready").words.startswith(words)

        try:
            wait_until(said, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{self.verdict('ready')} is not {words!r}\n{self.child.last_words()}") from error
        assert (live, ready) == (self.verdict("live").is_good, self.verdict("ready").is_good)

    def start(self) -> None:
        """Let it load, and wait until it is ready."""
        self.model.touch()
        self.wait_for("ready", live=True, ready=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server of this test's own."""
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def observed(tmp_path: Path, server: RedisServer) -> Iterator[Observed]:
    """A worker that has not loaded yet."""
    observed = Observed(tmp_path, server.url)
    try:
        yield observed
    finally:
        observed.app.close()
        observed.child.send(signal.SIGCONT)
        observed.child.kill()


def test_a_worker_loads_works_drains_and_ends(observed: Observed) -> None:
    """Each in its own words; only a worker that takes jobs is ready, and one that drains is not killed."""
    observed.wait_for("loading", live=True)
    assert not observed.verdict("startup").is_good
    observed.start()
    assert observed.verdict("startup").is_good

    observed.app.send_task("work")
    wait_until(lambda: observed.app.control.inspect(timeout=0.5).active(), 20)
    observed.child.send(signal.SIGTERM)
    observed.wait_for("draining", live=True)
    observed.child.kill()
    observed.wait_for("ended", live=False)


def test_a_wedged_consumer_is_told_from_a_stuck_device(observed: Observed) -> None:
    """The heartbeat goes on in both, so that it can say what does not."""
    observed.start()
    observed.app.control.broadcast("hang")
    observed.wait_for("stuck device", live=False)
    observed.app.control.broadcast("wedge")
    beat = wait_until(lambda: (b := beats.read(str(observed.folder))) and beats.now() - b.loop_at > 3 and b, 20)

    well = beat._replace(device_since=None)
    verdict = health.judge("live", well, now=beats.now(), birth=well.born, limits=SOON)
    assert verdict.words.startswith("wedged consumer: Celery's event loop has not turned")
    assert not verdict.is_good


def test_a_stopped_process_is_frozen(observed: Observed) -> None:
    """And well again when it goes on."""
    observed.start()
    observed.child.send(signal.SIGSTOP)
    observed.wait_for("frozen", live=False)
    observed.child.send(signal.SIGCONT)
    observed.wait_for("ready", live=True, ready=True)


def test_a_worker_without_redis_is_alive_and_not_ready(observed: Observed, server: RedisServer) -> None:
    """All the time that Redis is away; and ready again soon after."""
    observed.start()
    server.kill()
    observed.wait_for("lost redis", live=True)
    end = time.monotonic() + 8  # longer than every limit of a live worker that knows Redis to be there
    wait_until(lambda: not observed.verdict("live").is_good or time.monotonic() > end, 20)
    assert observed.verdict("live").is_good

    server.start()
    observed.wait_for("ready", live=True, ready=True, timeout_s=60)


def test_a_redis_that_keeps_silent_is_lost_too(observed: Observed, server: RedisServer) -> None:
    """No refusal, no answer."""
    observed.start()
    server.pause()
    observed.wait_for("lost redis", live=True)
    server.resume()
    observed.wait_for("ready", live=True, ready=True, timeout_s=60)


def _probe(folder: Path, probe: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """One call of the console script, and the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = Path(sys.executable).with_name("imagefleet-worker")
    env = {**os.environ, health.FOLDER_VARIABLE: str(folder)}
    done = subprocess.run([str(script), "health", probe], env=env, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_probe_costs_less_than_a_tenth_of_a_second(tmp_path: Path) -> None:
    """Of CPU, as the script that Kubernetes calls; the least of five, because others run here, too."""
    own = beats.birth_of(os.getpid()) or ""
    now = beats.now()
    beat = beats.Beat(os.getpid(), own, now, "ready", now, True, now, now, "", now, now, None, now, 900)  # noqa: FBT003  # as a tuple
    beats.write(str(tmp_path), beat)
    results = [_probe(tmp_path, probe) for probe in ("live", "ready", "startup", "live", "live")]

    assert [done.returncode for done, _ in results] == [0] * 5
    assert results[0][0].stdout == "ready: the device is free\n"
    assert min(seconds for _, seconds in results) < 0.1


def test_a_probe_loads_nothing_heavy() -> None:
    """Neither of the libraries that make it slow, nor this project's modules that need them."""
    code = "import sys; from imagefleet_worker import cli, health; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    ours = {name for name in loaded if name.startswith("imagefleet")}
    assert ours == {f"imagefleet_worker{name}" for name in ("", ".beats", ".cli", ".health")}
    assert not {"torch", "celery", "kombu", "pydantic", "typer", "redis", "structlog"} & set(loaded)


@pytest.fixture
def page(redis_url: str) -> Iterator[tuple[Metrics, Page]]:
    """The metrics of a worker of the model `sdxl`, served."""
    metrics = Metrics(model="sdxl")
    client = redis_py.Redis.from_url(redis_url, decode_responses=True, socket_timeout=1)
    metrics.sources.redis, metrics.sources.queues = client, ("imagefleet.sdxl", "imagefleet.webhooks")
    page = metrics.serve(MetricsSettings(port=free_port(), address="127.0.0.1"))
    assert page
    yield metrics, page
    page.close()
    client.close()


def scrape(page: Page) -> dict[tuple[str, str], float]:
    """Each value by its name and its queue."""
    text = httpx.get(f"http://127.0.0.1:{page.port}/metrics", timeout=20).text
    families = text_string_to_metric_families(text)
    return {(line.name, line.labels.get("queue", "")): line.value for each in families for line in each.samples}


def test_the_page_counts_what_waits_and_for_how_long(page: tuple[Metrics, Page], redis_url: str) -> None:
    """In all levels of a queue; a message without a record has no age, and an empty queue's oldest is 0."""
    keys, (_, served) = Keys(), page
    assert scrape(served)["imagefleet_queue_oldest_seconds", "imagefleet.sdxl"] == 0
    with Client(redis_url) as client, redis_py.Redis.from_url(redis_url) as raw:
        oldest = client.submit("a fox", model="sdxl", priority=1)
        client.submit("a whale", model="sdxl", priority=9)
        client.submit("a cat", model="sdxl")
        raw.hincrbyfloat(keys.job(oldest), "queued_at", -100)
        raw.lpush("imagefleet.webhooks", "no JSON", json.dumps({"headers": {"id": "unknown"}}), json.dumps([1]))
        raw.hset(keys.dead, "a", "{}")
        found = scrape(served)

    assert found["imagefleet_queue_depth", "imagefleet.sdxl"] == 3
    assert 100 <= found["imagefleet_queue_oldest_seconds", "imagefleet.sdxl"] < 160
    assert found["imagefleet_queue_depth", "imagefleet.webhooks"] == 3
    assert ("imagefleet_queue_oldest_seconds", "imagefleet.webhooks") not in found
    assert found["imagefleet_dead_letters", ""] == 1


def test_the_page_comes_without_redis_too(server: RedisServer) -> None:
    """In time, and without the numbers that only Redis knows."""
    metrics = Metrics(model="sdxl")
    with redis_py.Redis.from_url(server.url, socket_timeout=1) as client:
        metrics.sources.redis, metrics.sources.queues = client, ("imagefleet.sdxl",)
        assert b'imagefleet_queue_depth{queue="imagefleet.sdxl"} 0' in metrics.page()
        server.pause()
        began = time.monotonic()
        without = metrics.page()

    assert time.monotonic() - began < 10
    assert b"imagefleet_queue_depth{" not in without
    assert b"imagefleet_steps_total 0.0" in without


def test_a_port_that_is_taken_is_a_wrong_setting(page: tuple[Metrics, Page]) -> None:
    """With the variable's name in the sentence; and without a port there is no page."""
    metrics, served = page
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_METRICS_PORT"):
        metrics.serve(MetricsSettings(port=served.port, address="127.0.0.1"))
    assert metrics.serve(MetricsSettings()) is None
