"""An upgrade and the way back, with jobs in flight: the first release and today's version share a queue."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import clean_environment, wait_until_ready
from tests.support.waiting import wait_until

from imagefleet import JobStatus
from imagefleet_worker.supervision.celery_command import worker_command
from imagefleet_worker.supervision.child_process import ChildProcess

#: The first version that others have run; docs/upgrade.md names it.
FIRST_RELEASE = "3dd7ce49aae06f82aefa549dd2171920116fa680"
ROOT = Path(__file__).parents[2]
_JOBS = [{"prompt": f"boat {n}", "steps": 150, "seed": n, "priority": n} for n in range(6)]
_SUBMIT = (
    "import json, sys; from imagefleet import Client; print(*Client(sys.argv[1]).submit_many(json.loads(sys.argv[2])))"
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables with which Python imports the packages of the first release."""
    folder = tmp_path_factory.mktemp("first")
    packed = subprocess.run(
        ["git", "archive", FIRST_RELEASE, "producer", "worker"],  # noqa: S607  # git is where the developer has it
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        pytest.skip("the first release is not in the history of this checkout")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return {"PYTHONPATH": f"{folder / 'producer'}{os.pathsep}{folder / 'worker'}"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with running_fleet(tmp_path) as fleet:
        yield fleet


def submit(fleet: Fleet, version: dict[str, str]) -> list[str]:
    """The ids of jobs that a client of *version* has queued; that of today is in this process."""
    if not version:
        with fleet.client() as client:
            return client.submit_many(_JOBS)
    command = [sys.executable, "-c", _SUBMIT, fleet.redis.url, json.dumps(_JOBS)]
    env = {**clean_environment(), **version}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()


def all_succeed_once(fleet: Fleet, ids: list[str]) -> None:
    """Every job has its image, and nothing is left in Redis that waits or is held."""
    with fleet.client() as client, fleet.raw() as raw:
        results = [client.result(job_id, timeout_s=120) for job_id in ids]
        assert {result.status for result in results} == {JobStatus.SUCCEEDED}, results
        assert [result.artifacts[0].seed for result in results] == list(range(len(_JOBS)))
        wait_until(
            lambda: not raw.exists("imagefleet:claims") and sum(queue.waiting for queue in client.queues()) == 0, 30
        )


def run_together(fleet: Fleet, ids: list[str]) -> bool:
    """At least two of the jobs run."""
    with fleet.client() as client:
        return sum(client.status(job_id) is JobStatus.RUNNING for job_id in ids) > 1


def start(fleet: Fleet, name: str, version: dict[str, str], *, runs: list[ChildProcess]) -> ChildProcess:
    """Start a worker of *version*; one of today's would do for `Fleet.start`, which forks it."""
    env = {**clean_environment(), **fleet.environment(), **version}
    runs.append(ChildProcess(name, worker_command(name, ()), log=fleet.folder / f"{name}.log", env=env))
    return runs[-1]


@pytest.fixture
def runs() -> Iterator[list[ChildProcess]]:
    """Workers, which are ended with the test."""
    children: list[ChildProcess] = []
    yield children
    for child in children:
        child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["drained", "killed"])
@pytest.mark.parametrize("direction", ["upgrade", "back"])
def test_no_job_is_lost_between_the_first_release_and_today(
    fleet: Fleet, first_release: dict[str, str], runs: list[ChildProcess], direction: str, number: signal.Signals
) -> None:
    before, after = (first_release, {}) if direction == "upgrade" else ({}, first_release)
    leaving = start(fleet, "leaving", before, runs=runs)
    wait_until_ready(leaving)
    ids = submit(fleet, before)
    wait_until(lambda: run_together(fleet, ids), 60)
    coming = start(fleet, "coming", after, runs=runs)

    leaving.send(number)

    ids_after = submit(fleet, after)
    assert leaving.wait(90) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    wait_until_ready(coming)
    all_succeed_once(fleet, ids)
    all_succeed_once(fleet, ids_after)
