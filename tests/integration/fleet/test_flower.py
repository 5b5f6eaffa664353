"""Flower shows the fleet: its workers by device, and its jobs under their names."""

import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.support.fleet.fleet import Fleet
from tests.support.fleet.processes import clean_environment
from tests.support.waiting import wait_until

from imagefleet_worker.supervision.child_process import ChildProcess, free_port


@pytest.fixture
def fleet(watched_fleet: Fleet) -> Fleet:
    return watched_fleet


@pytest.fixture(scope="module")
def flower(watched_fleet: Fleet) -> Iterator[httpx.Client]:
    """Flower, started as docs/watching.md says."""
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "imagefleet_worker.app", "flower"]
    command += ["--address=127.0.0.1", f"--port={port}"]
    env = {**clean_environment(), **watched_fleet.environment(), "FLOWER_UNAUTHENTICATED_API": "true"}
    child = ChildProcess("flower", command, log=watched_fleet.folder / "flower.log", env=env)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:

        def answers() -> bool:
            """Flower answers."""
            assert child.is_running, child.log_tail(40)
            try:
                return bool(http.get("/api/workers", params={"refresh": True}).json())
            except (httpx.TransportError, ValueError):
                return False

        try:
            wait_until(answers, 60, every_s=0.3)
            yield http
        finally:
            child.stop(20)


def task_of(flower: httpx.Client, job_id: str, state: str) -> dict[str, Any]:
    """What Flower says about a job once it is in *state*."""

    def found() -> dict[str, Any] | None:
        """Flower has heard of it."""
        task = flower.get("/api/tasks").json().get(job_id)
        return task if task and task["state"] == state else None

    task = wait_until(found, 30, every_s=0.2)
    assert task is not None
    return task


def test_workers_are_shown_by_their_devices_names(flower: httpx.Client) -> None:
    workers = {name.split("@")[0]: worker for name, worker in flower.get("/api/workers").json().items()}
    assert workers.keys() >= {"gpu0", "hooks"}
    assert {queue["name"] for queue in workers["gpu0"]["active_queues"]} == {"imagefleet.default"}
    assert workers["gpu0"]["registered"] == ["imagefleet.deliver", "imagefleet.generate"]


def test_a_job_is_shown_under_its_task_without_its_prompt(fleet: Fleet, flower: httpx.Client) -> None:
    with fleet.client() as client:
        job_id = client.submit("a secret prompt")
        client.result(job_id, timeout_s=60)
    task = task_of(flower, job_id, "SUCCESS")
    assert task["name"] == "imagefleet.generate"
    assert task["worker"].startswith("gpu0@")
    assert task["kwargs"] == "{...}"
    assert "a secret prompt" not in str(task)


def test_a_running_job_is_shown_as_started_and_a_failed_one_with_its_reason(fleet: Fleet, flower: httpx.Client) -> None:
    with fleet.client() as client:
        running = client.submit("a long one", steps=200)
        task_of(flower, running, "STARTED")
        failing = client.submit("no such scheduler", scheduler="NoSuchScheduler")
        assert "NoSuchScheduler" in task_of(flower, failing, "FAILURE")["exception"]
        client.cancel(running)
        client.result(running, timeout_s=30)
