"""Health on real parts: a Celery worker that hangs in several ways, and a Redis that goes."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from tests.support.fleet.processes import start_worker
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until

from imagefleet_worker.health import heartbeat_file, probes
from imagefleet_worker.health.limits import Limits, ProbeResult

#: A test cannot wait for the limits of a fleet.
SOON = Limits(frozen_s=3, wedged_s=3, reconnect_s=10, redis_s=6)

#: A worker without a model: its heartbeat is wired as the real one's, and remote control makes it sick.
WORKER = """
import os, threading, time
from celery import Celery, bootsteps, signals
from celery.worker.control import control_command
from imagefleet_worker.health.heartbeat import Heartbeat
import redis

url = os.environ["TEST_REDIS_URL"]
app = Celery("observed", broker=url)
app.conf.update(worker_pool="threads", broker_connection_retry_on_startup=True, broker_connection_max_retries=None,
                broker_transport_options={"socket_timeout": 2, "socket_connect_timeout": 2})
hung_since = []
heartbeat = Heartbeat(
    os.environ["IMAGEFLEET_HEALTH_FOLDER"],
    client=redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2),
    device_signs=lambda: (hung_since[0], hung_since[0]) if hung_since else (None, 0.0),
    device_timeout_s=1,
)
heartbeat.start()

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
    hung_since.append(time.monotonic())
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
            probes.FOLDER_VARIABLE: str(self.folder),
        }
        self.child = start_worker(env, folder, app="observed", options=("-c", "2", "--without-gossip"))

    def verdict(self, probe: str) -> ProbeResult:
        """As `imagefleet-worker health` gives it, with less patience."""
        beat = heartbeat_file.read(str(self.folder))
        birth = heartbeat_file.birth_of(beat.pid) if beat else None
        return probes.judge(probe, beat, now=heartbeat_file.now(), birth=birth, limits=SOON)

    def wait_for(self, words: str, *, live: bool, ready: bool = False, timeout_s: float = 30) -> None:
        """Wait until the probes say *words*, and see that they draw the right conclusion."""

        def said() -> bool:
            """The probe says what is the matter."""
            return self.verdict("ready").words.startswith(words)

        try:
            wait_until(said, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{self.verdict('ready')} is not {words!r}\n{self.child.log_tail()}") from error
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
    beat = wait_until(
        lambda: (b := heartbeat_file.read(str(observed.folder))) and heartbeat_file.now() - b.loop_at > 3 and b, 20
    )

    well = beat._replace(device_since=None)
    verdict = probes.judge("live", well, now=heartbeat_file.now(), birth=well.born, limits=SOON)
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
