"""The registry of workers on real parts: who works, on what, and who is gone."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support import command_line
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.waiting import wait_until

from imagefleet import AsyncClient, Client, Worker, WorkerState
from imagefleet.store import worker_registry
from imagefleet.store.keys import Keys
from imagefleet_worker.jobs.others import Others
from imagefleet_worker.process.peers import Peers
from imagefleet_worker.supervision.child_process import ChildProcess

ROOT = str(Path(__file__).parents[3])
SLOW = {"PYTHONPATH": os.pathsep.join((ROOT, os.environ.get("PYTHONPATH", ""))), "FAULTS_FORWARD_S": "0.05"}
PLUG_IN = ("-I", "tests.support.devices.slow_device")
JOB: dict[str, Any] = {"prompt": "a red fox", "width": 64, "height": 64, "steps": 200}
#: Twice the lease of `Fleet`, and no less than three signs.
TTL_S = 6


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet whose devices are slow enough to be seen at work."""
    with running_fleet(tmp_path_factory.mktemp("registry"), env=SLOW) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def gpu0(fleet: Fleet) -> ChildProcess:
    """A worker; the last test that has it ends it."""
    child = fleet.start("gpu0", options=PLUG_IN)
    wait_until_ready(child)
    return child


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    """A client of the fleet."""
    with fleet.client() as client:
        yield client


def named(client: Client, name: str) -> Worker | None:
    """The worker called *name*; None where there is none."""
    return next((each for each in client.workers() if each.name.startswith(f"{name}@")), None)


def wait_for(client: Client, name: str, state: WorkerState, timeout_s: float = 30) -> Worker:
    """Wait until the worker called *name* says that it is in *state*."""

    def found() -> Worker | None:
        """The worker is in the state."""
        worker = named(client, name)
        return worker if worker and worker.state is state else None

    return wait_until(found, timeout_s, every_s=0.1)


def top(fleet: Fleet) -> dict[str, Any]:
    """What `imagefleet top --once --json` prints."""
    return json.loads(command_line.run("--redis-url", fleet.redis.url, "top", "--once", "--json").stdout)


def test_a_worker_says_what_it_is(client: Client, fleet: Fleet, gpu0: ChildProcess) -> None:
    worker = wait_for(client, "gpu0", WorkerState.READY)
    assert (worker.model, worker.mode, worker.queues) == ("default", "merge", ("imagefleet.default",))
    assert worker.device
    assert worker.device.startswith("cpu")
    assert worker.revision
    assert worker.revision.startswith("sha256:")
    assert worker.memory["resident"] > 10**7
    assert worker.jobs == ()
    assert worker.silent_s < TTL_S
    with fleet.raw() as raw:
        assert 0 < raw.pttl(Keys().worker(worker.id)) <= TTL_S * 1000


def test_running_jobs_are_shown_with_their_steps_and_what_was_made_counts(
    client: Client, fleet: Fleet, gpu0: ChildProcess
) -> None:
    jobs = [client.submit(**{**JOB, "steps": 120}) for _ in range(2)]

    def both_step() -> Worker | None:
        """Both jobs are under way."""
        worker = named(client, "gpu0")
        return worker if worker and len([job for job in worker.jobs if 0 < job.done < job.total]) == 2 else None

    worker = wait_until(both_step, 30, every_s=0.1)
    assert worker.state is WorkerState.BUSY
    assert {job.id for job in worker.jobs} == set(jobs)
    assert {job.total for job in worker.jobs} == {120}
    queue = client.queues()[0]
    assert (queue.name, queue.running, queue.workers, queue.waiting) == ("imagefleet.default", 2, 1, 0)
    seen = top(fleet)
    assert {job["id"] for each in seen["workers"] for job in each["jobs"]} == set(jobs)
    assert seen["queues"][0]["running"] == 2
    before = worker.images
    for result in client.as_completed(jobs, timeout_s=60):
        result.raise_for_status()
    done = wait_for(client, "gpu0", WorkerState.READY)
    assert done.images == before + 2
    assert done.images_per_s > 0
    assert 0 < done.busy <= 1


def test_a_queue_is_seen_before_any_worker_consumes_it(client: Client, fleet: Fleet) -> None:
    urgent = client.submit("a fox", model="nobody-has-it", priority=9)
    client.submit_many([{"prompt": "a cat", "model": "nobody-has-it"}] * 2)
    with fleet.raw() as raw:
        raw.hincrbyfloat(Keys().job(urgent), "queued_at", -100)

    queue = next(each for each in client.queues() if each.name == "imagefleet.nobody-has-it")

    assert (queue.waiting, queue.running, queue.workers) == (3, 0, 0)
    assert queue.by_priority == {"8-9": 1, "5-7": 2, "3-4": 0, "1-2": 0, "0": 0}
    assert queue.oldest_s
    assert 100 <= queue.oldest_s < 160
    with fleet.raw() as raw:
        raw.delete(*Keys().lists(queue.name))
    assert "imagefleet.nobody-has-it" not in {each.name for each in client.queues()}


async def test_the_asyncio_client_sees_the_same(client: Client, fleet: Fleet, gpu0: ChildProcess) -> None:
    async with AsyncClient(fleet.redis.url) as twin:
        assert [worker.id for worker in await twin.workers()] == [worker.id for worker in client.workers()]
        assert [queue.name for queue in await twin.queues()] == ["imagefleet.default"]
        assert (await twin.overview()).dead_letters == 0


def test_another_key_prefix_sees_nothing(fleet: Fleet) -> None:
    with Client(fleet.redis.url, key_prefix="other:") as client:
        assert client.workers() == []
        assert client.queues() == []


def test_a_worker_that_drains_says_so_and_signs_out(client: Client, gpu0: ChildProcess) -> None:
    wait_for(client, "gpu0", WorkerState.READY)
    job_id = client.submit(JOB)
    wait_for(client, "gpu0", WorkerState.BUSY)

    gpu0.send(signal.SIGTERM)

    assert wait_for(client, "gpu0", WorkerState.DRAINING).jobs
    client.cancel(job_id)
    assert gpu0.wait(40) == 0
    assert named(client, "gpu0") is None


def test_a_killed_worker_falls_out_within_the_time_to_live(client: Client, fleet: Fleet) -> None:
    child = fleet.start("doomed", options=PLUG_IN)
    wait_for(client, "doomed", WorkerState.LOADING, timeout_s=90)
    wait_for(client, "doomed", WorkerState.READY, timeout_s=90)

    child.kill()

    assert named(client, "doomed")
    wait_until(lambda: named(client, "doomed") is None, TTL_S + 1)


@pytest.fixture
def raw(redis_url: str) -> Iterator["redis.Redis"]:
    """A Redis without any workers."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def sign(
    raw: "redis.Redis",
    worker_id: str,
    *,
    name: str = "gpu0@host",
    ttl_s: float = 60,
    model: str | None = None,
    failures: int = 0,
) -> None:
    """Sign a worker in by hand."""
    worker = Worker(
        id=worker_id,
        name=name,
        host="host",
        pid=1,
        state=WorkerState.READY,
        images_per_s=2,
        model=model,
        failures=failures,
        started_at=datetime.now(UTC),
    )
    raw.execute_command(*worker_registry.register(Keys(), worker, ttl_s=ttl_s))


def test_a_worker_that_does_not_sign_is_called_silent_unless_its_name_is_taken(
    raw: "redis.Redis", redis_url: str
) -> None:
    sign(raw, "first")
    raw.zincrby(Keys().workers, -20, "first")
    with Client(redis_url) as client:
        [worker] = client.workers()
        assert (worker.state, worker.images_per_s) == (WorkerState.SILENT, 0)
        assert 20 <= worker.silent_s < 30
        sign(raw, "second")
        assert [each.id for each in client.workers()] == ["second"]


def test_a_worker_sees_how_it_goes_at_others_of_its_model(raw: "redis.Redis") -> None:
    """Those that take jobs, without itself."""
    peers = Peers(raw, keys=Keys(), model="default", owner="own", most_failures=3)
    assert peers.compare() == Others()
    for number, (worker_id, failures) in enumerate({"own": 0, "well": 2, "failing": 3}.items()):
        sign(raw, worker_id, name=f"gpu{number}@host", model="default", failures=failures)
    sign(raw, "other", name="gpu9@host", model="another")

    assert peers.compare() == Others(well=1, failing=1)


def test_entries_that_ran_out_leave_the_index_too(raw: "redis.Redis") -> None:
    for number in range(20):
        sign(raw, f"old-{number}", ttl_s=0.05)
    wait_until(lambda: not raw.exists(Keys().worker("old-19")))
    sign(raw, "new", ttl_s=0.05)
    assert raw.zrange(Keys().workers, 0, -1) == ["new"]


def test_entries_of_other_versions_are_read(raw: "redis.Redis", redis_url: str) -> None:
    sign(raw, "first")
    entry = json.loads(str(raw.get(Keys().worker("first"))))
    del entry["mode"]
    raw.set(Keys().worker("first"), json.dumps({**entry, "wings": 2}))
    with Client(redis_url) as client:
        assert client.workers()[0].mode is None
