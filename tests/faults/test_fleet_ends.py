"""How processes and jobs end, and what is left of them: Ctrl-C, a device that is broken or full, and 50 ended jobs."""

import contextlib
import json
import platform
import signal
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from tests.faults.support.pair import JOB, KEYS, LEASE_S, REDELIVERED_WITHIN_S, stopped
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.contract.queues import REDELIVERIES_HEADER, queue_for
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.supervision.child_process import ChildProcess

TTL_S = 2
DRAIN_S = 40
ALL_ENDS = {"succeeded": 20, "failed": 10, "canceled": 10, "expired": 10}
#: What Celery notes of its queues, once for each: it does not grow with the jobs.
CELERYS_OWN = {
    "_kombu.binding.celery.pidbox",
    "_kombu.binding.celeryev",
    "_kombu.binding.imagefleet.default",
    "_kombu.binding_deadlines",
    "_kombu.binding_permanent.imagefleet.default",
}
WAITING = KEYS.list_for(queue_for("default"), 5)


@dataclass
class BreakableWorkers:
    """Workers whose device fails when it is told to, and whose results stay in Redis for two seconds."""

    fleet: Fleet
    client: Client
    _workers: list[ChildProcess] = field(default_factory=list)
    _born: int = 0

    def start(self, **env_more: str) -> ChildProcess:
        """Start one more worker, with more variables, and do not wait."""
        self._born += 1
        name = f"e{self._born}"
        env = {
            "IMAGEFLEET_REDIS_RESULT_TTL_S": str(TTL_S),
            "IMAGEFLEET_LEASE_DURATION_S": str(LEASE_S),
            "IMAGEFLEET_WORKER_DRAIN_S": str(DRAIN_S),
            "FAULTS_FORWARD_S": "0.02",
            "FAULTS_RAISE_FILE": str(self.orders(name)),
            **env_more,
        }
        self._workers.append(
            self.fleet.start(
                name, env=env, options=("-I", "tests.support.devices.slow_device,tests.support.devices.broken_device")
            )
        )
        return self._workers[-1]

    def ready(self, count: int) -> list[ChildProcess]:
        """As many workers that take jobs."""
        self._workers = [child for child in self._workers if child.is_running]
        while len(self._workers) < count:
            self.start()
        for child in self._workers:
            wait_until_ready(child)
        return self._workers[:count]

    def others(self, worker: ChildProcess) -> list[ChildProcess]:
        """The running workers besides *worker*."""
        return [child for child in self._workers if child.is_running and child is not worker]

    def orders(self, name: str) -> Path:
        """The file that tells the worker called *name* which error to raise."""
        return self.fleet.folder / f"raise-{name}"

    def begin(self, worker: ChildProcess, *, steps: int = 100) -> str:
        """Submit a job while no other worker runs, and wait until *worker* is in the middle of it."""
        job_id = self.client.submit(JOB, steps=steps)

        def is_made() -> bool:
            """The worker is in the middle of the job."""
            return self.client.get(job_id).progress is not None and self.holder(job_id) == worker.name

        wait_until(is_made, 30)
        return job_id

    def holder(self, job_id: str) -> str:
        """The name of the worker that took the job last."""
        return str(self.client.get(job_id).worker).split("@")[0]

    def messages(self) -> list[dict[str, Any]]:
        """What waits in the queue, the next message last."""
        with self.fleet.raw() as raw:
            messages: Any = raw.lrange(WAITING, 0, -1)
        return [json.loads(message) for message in messages]

    def waiting(self) -> list[str]:
        """The ids of the jobs that wait in the queue."""
        return [message["headers"]["id"] for message in self.messages()]

    def claimed(self) -> int:
        """The number of messages that workers hold."""
        with self.fleet.raw() as raw:
            return int(raw.hlen(KEYS.claims))


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Generator[BreakableWorkers]:
    """A fleet with two workers on the way; a test that ends one starts another where it needs two."""
    with running_fleet(tmp_path_factory.mktemp("ends")) as fleet, fleet.client() as client:
        workers = BreakableWorkers(fleet, client)
        workers.start()
        workers.start()
        yield workers


@contextlib.contextmanager
def alone(workers: BreakableWorkers, worker: ChildProcess) -> Generator[None]:
    """Let no worker but *worker* do anything while the block runs."""
    with contextlib.ExitStack() as stack:
        for other in workers.others(worker):
            stack.enter_context(stopped(other))
        yield


@dataclass
class Ends:
    """The final status of each job, heard from Redis: records may be gone before anybody asks for the last one."""

    pubsub: Any
    heard: dict[str, str] = field(default_factory=dict)

    def listen(self, count: int) -> bool:
        """All jobs have ended."""
        while message := self.pubsub.get_message(ignore_subscribe_messages=True, timeout=0):
            event = json.loads(message["data"])
            status = event["type"].removeprefix("job.")
            if status in ALL_ENDS:
                self.heard[event["id"]] = status
        return len(self.heard) == count


def test_nothing_of_ended_jobs_stays_in_redis(workers: BreakableWorkers) -> None:
    """Whatever the end of 50 jobs, each key that is left has a time to live, and later only dead letters are left."""
    (worker, _) = workers.ready(2)
    late = datetime.now(UTC) - timedelta(seconds=1)
    with workers.fleet.raw() as raw, alone(workers, worker), raw.pubsub() as pubsub:
        pubsub.psubscribe(KEYS.events("*"))
        ends = Ends(pubsub)
        for _ in range(20):
            workers.client.submit(JOB, steps=2)
        for _ in range(10):
            workers.client.submit(JOB, steps=2, scheduler="NoSuchScheduler")
        for _ in range(10):
            workers.client.submit(JOB, steps=2, deadline=late)
        with stopped(worker):
            for _ in range(5):
                workers.client.cancel(workers.client.submit(JOB, steps=2))
        running = [workers.client.submit(JOB, steps=200) for _ in range(5)]
        for job_id in running:
            wait_until(lambda job_id=job_id: workers.client.status(job_id) == "running", 30)
            workers.client.cancel(job_id)
        raw.lpush(WAITING, "no message at all")
        wait_until(lambda: ends.listen(50), 30)
        wait_until(lambda: not (raw.exists(KEYS.claims) or raw.exists(WAITING)), 10)

        lasting = {key: raw.ttl(key) for key in keys_of_jobs(raw)}
        wait_until(lambda: not keys_of_jobs(raw), TTL_S + 10)
        stays = set(raw.scan_iter())

    print("stays", sorted(stays))
    assert Counter(ends.heard.values()) == ALL_ENDS
    assert lasting
    assert -1 not in lasting.values()
    assert {key for key in stays if not is_the_fleets(key)} == {KEYS.dead, KEYS.dead_index}


def keys_of_jobs(raw: Any) -> list[str]:
    """All keys but dead letters and those that do not grow with the jobs."""
    return [key for key in raw.scan_iter() if key not in {KEYS.dead, KEYS.dead_index} and not is_the_fleets(key)]


def is_the_fleets(key: str) -> bool:
    """Whether there is one such key for each queue, list, worker or model, however many jobs there were."""
    kinds = (KEYS.worker(""), KEYS.calibration(""))
    return (
        key in {KEYS.queues, KEYS.workers, KEYS.served} | CELERYS_OWN
        or key.startswith(kinds)
        or key.endswith(":number")
    )


def test_a_job_that_does_not_fit_the_device_fails_alone(workers: BreakableWorkers) -> None:
    """The worker says so of that job, and makes the next one."""
    (worker, _) = workers.ready(2)
    with alone(workers, worker):
        workers.orders(worker.name).write_text("memory")
        failed = workers.client.result(workers.client.submit(JOB, num_images=2), timeout_s=30)
        workers.orders(worker.name).unlink()
        following = workers.client.result(workers.client.submit(JOB), timeout_s=30)

    assert failed.error
    assert (failed.status, failed.error.code, failed.attempts) == ("failed", "out_of_memory", 1)
    assert (following.status, following.worker) == ("succeeded", failed.worker)
    assert worker.is_running


def test_a_second_ctrl_c_hands_back_at_once(workers: BreakableWorkers) -> None:
    """Long before the drain is over, with exit code 0; another worker makes the job."""
    (worker, other) = workers.ready(2)
    with alone(workers, worker):
        job_id = workers.begin(worker, steps=200)
        worker.send(signal.SIGINT)
        wait_until(lambda: "press Ctrl-C again" in worker.output(), 10)
        assert worker.is_running
        start = time.monotonic()
        worker.send(signal.SIGINT)
        assert worker.wait(10) == ExitCode.OK
        ended_s = time.monotonic() - start
        assert workers.waiting() == [job_id]
    print(f"measured the second Ctrl-C, until the process has ended: {ended_s:.1f} s")
    workers.start()  # for the next test, while the job is made

    assert ended_s < LEASE_S
    result = workers.client.result(job_id, timeout_s=60)
    assert (result.status, result.attempts, str(result.worker).split("@")[0]) == ("succeeded", 2, other.name)


def test_a_broken_device_ends_the_process(workers: BreakableWorkers) -> None:
    """With a code of its own; the job is made by another worker."""
    (worker, other) = workers.ready(2)
    with alone(workers, worker):
        job_id = workers.begin(worker)
        workers.orders(worker.name).write_text("accelerator")
        assert worker.wait(20) == ExitCode.DEVICE_FAULT == 74
        start = time.monotonic()
    wait_until(lambda: workers.holder(job_id) == other.name, 30)
    taken_s = time.monotonic() - start
    print(f"measured a broken device, until another has the job: {taken_s:.1f} s")

    assert taken_s < REDELIVERED_WITHIN_S
    assert "illegal memory access" in worker.output()
    result = workers.client.result(job_id, timeout_s=60)
    assert (result.status, result.attempts) == ("succeeded", 2)


def test_ctrl_c_drains(workers: BreakableWorkers) -> None:
    """The worker says what it waits for, ends the running job, takes no other, and exits with 0."""
    (worker,) = workers.ready(1)
    with alone(workers, worker):
        job_id = workers.begin(worker)
        worker.send(signal.SIGINT)
        wait_until(lambda: "imagefleet: draining" in worker.output(), 10)
        untouched = workers.client.submit(JOB)
        result = workers.client.result(job_id, timeout_s=60)
        code = worker.wait(20)

        assert workers.waiting() == [untouched]
    (line,) = [line for line in worker.output().splitlines() if line.startswith("imagefleet: draining")]
    assert line == (
        f"imagefleet: draining, 1 job running, at most {DRAIN_S} s; press Ctrl-C again to hand them back at once"
    )
    assert (result.status, result.attempts, code) == ("succeeded", 1, ExitCode.OK)


def test_jobs_that_are_given_back_are_there_while_redis_is_slow(workers: BreakableWorkers) -> None:
    """Their threads hear of it and end, and acknowledge nothing, before Redis has the last message back."""
    worker, other = workers.ready(2)
    with alone(workers, worker), workers.fleet.raw() as raw:
        jobs = workers.client.submit_many([{**JOB, "steps": 200}] * 4)
        wait_until(lambda: all(workers.client.get(job_id).progress for job_id in jobs), 30)
        raw.execute_command("CLIENT", "PAUSE", "500", "ALL")
        worker.send(signal.SIGQUIT)
        assert worker.wait(20) == ExitCode.OK
        assert workers.waiting() == jobs[::-1]
        held: Any = raw.hvals(KEYS.claims)
        assert not any(job_id in message for job_id in jobs for message in held)
    assert [workers.client.result(job_id, timeout_s=60).status for job_id in jobs] == ["succeeded"] * 4
    assert other.is_running


def test_two_ctrl_c_end_a_worker_while_redis_hangs(workers: BreakableWorkers) -> None:
    """It does not wait for all the timeouts of all that it would say; others take its jobs when the lease runs out."""
    worker = workers.start(IMAGEFLEET_REDIS_SOCKET_TIMEOUT_S="1")
    workers.ready(2)
    wait_until_ready(worker)
    with alone(workers, worker):
        jobs = [workers.begin(worker, steps=60) for _ in range(2)]
        workers.fleet.redis.pause()
        try:
            start = time.monotonic()
            worker.send(signal.SIGINT)
            wait_until(lambda: "imagefleet: draining" in worker.output(), 10)
            worker.send(signal.SIGINT)
            assert worker.wait(20) == ExitCode.OK
            ended_s = time.monotonic() - start
        finally:
            workers.fleet.redis.resume()
    print(f"measured two Ctrl-C while Redis hangs, with timeouts of 1 s, until the process has ended: {ended_s:.1f} s")

    assert ended_s < 5
    assert "Redis did not take back all jobs; other workers take them over when the leases run out" in worker.output()
    assert [workers.client.result(job_id, timeout_s=60).status for job_id in jobs] == ["succeeded"] * 2


def test_a_drain_hands_back_at_once_what_has_not_begun(workers: BreakableWorkers) -> None:
    """What Celery holds for a rate limit does not wait for the job that runs, and counts no redelivery."""
    (worker,) = workers.ready(1)
    with alone(workers, worker), Celery("foreign", broker=workers.fleet.redis.url, set_as_current=False) as app:
        name = f"{worker.name}@{platform.node()}"
        assert app.control.rate_limit("imagefleet.generate", "1/h", destination=[name], reply=True, timeout=5)
        running = workers.begin(worker, steps=200)
        held = workers.client.submit_many([JOB] * 3)
        wait_until(lambda: workers.claimed() == 4, 10)
        start = time.monotonic()
        worker.send(signal.SIGTERM)
        wait_until(lambda: workers.waiting() == held[::-1], 10)
        print(f"measured SIGTERM, until what has not begun is back: {time.monotonic() - start:.1f} s")

        assert workers.client.status(running) == "running"
        assert {workers.client.status(job_id) for job_id in held} == {"queued"}
        assert not any(REDELIVERIES_HEADER in message["headers"] for message in workers.messages())
        assert workers.client.result(running, timeout_s=60).status == "succeeded"
        assert worker.wait(20) == ExitCode.OK
        assert workers.claimed() == 0
