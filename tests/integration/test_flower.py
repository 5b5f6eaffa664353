"""Flower shows the fleet: its workers by device, and its jobs under their names."""

import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.support.fleet import Fleet, running_fleet
from tests.support.processes import clean_environment, wait_until_ready
from tests.support.waiting import wait_until

from imagefleet_worker.children import Child, free_port


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        wait_until_ready(fleet.start("gpu0", options=("-E",)))
        yield fleet


@pytest.fixture(scope="module")
def flower(fleet: Fleet) -> Iterator[httpx.Client]:
    """Flower, started as docs/watching.md says."""
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", "imagefleet_worker.app", "flower"]
    command += ["--address=127.0.0.1", f"--port={port}"]
    env = {**clean_environment(), **fleet.environment(), "FLOWER_UNAUTHENTICATED_API": "true"}
    child = Child("flower", command, log=fleet.folder / "flower.log", env=env)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:

        def answers() -> bool:
            """Flower answers."""
            assert child.is_running, child.last_words(40)
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
    (worker,) = flower.get("/api/workers").json().items()
    assert worker[0].startswith("gpu0@")
    assert {queue["name"] for queue in worker[1]["active_queues"]} == {"imagefleet.default"}
    assert worker[1]["registered"] == ["imagefleet.deliver", "imagefleet.generate"]


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
