"""Device groups of two CPU ranks: their images are those of one process, and to the queue they are one worker."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.support.fleet.device_group_rank import CASES
from tests.support.fleet.device_groups import end_group, group_environment, has_ended, ranks, start_group
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import clean_environment, wait_until_ready
from tests.support.models.engines import Engines, pixels
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.group.rank import Rank
from imagefleet_worker.supervision.child_process import ChildProcess, free_port

JOB = GenerationJob(prompt="a lighthouse at dusk", steps=4, seed=3, width=64, height=64)
pytestmark = pytest.mark.timeout(300)  # starting two ranks is slow on a busy machine


def test_each_way_gives_the_images_of_one_process(engines: Engines) -> None:
    """Within 1/255: three families, three ways, real gloo between two processes."""
    folder = str(engines.source("flux").parent)
    for family in CASES:
        engines.source(family)
    port = free_port()

    def run(rank: int) -> "subprocess.CompletedProcess[str]":
        rank = Rank(rank=rank, size=2, local_rank=rank, host="127.0.0.1", port=port)
        command = [sys.executable, "-m", "tests.support.fleet.device_group_rank", folder]
        env = {**clean_environment(), **rank.environment()}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, check=False)

    with ThreadPoolExecutor(2) as pool:
        leader, follower = pool.map(run, (0, 1))

    assert (leader.returncode, follower.returncode) == (0, 0), leader.stderr + follower.stderr
    differences = json.loads(leader.stdout)
    assert set(differences) == {f"{family} {way}" for family, ways in CASES.items() for way in ways}
    assert max(differences.values()) <= 1, differences


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), family="flux") as fleet:
        yield fleet


@pytest.fixture(scope="module")
def members(group: ChildProcess) -> dict[int, psutil.Process]:
    return ranks(group)


@pytest.fixture(scope="module")
def group(fleet: Fleet) -> Iterator[ChildProcess]:
    group = start_group(fleet, group_environment("context", timeout_s=10))
    try:
        wait_until_ready(group, 200)
        yield group
    finally:
        end_group(group, {})


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with fleet.client() as client:
        yield client


def picture(fleet: Fleet, result: JobResult) -> np.ndarray:
    key = result.artifacts[0].uri.removeprefix(f"s3://{fleet.s3.bucket}/")
    body = fleet.s3.client.get_object(Bucket=fleet.s3.bucket, Key=key)["Body"].read()
    return np.asarray(Image.open(io.BytesIO(body))).astype(np.int16)


def test_a_job_of_a_group_is_stored_like_any_other(
    fleet: Fleet, group: ChildProcess, client: Client, engines: Engines
) -> None:
    result = client.result(client.submit(JOB), timeout_s=60).raise_for_status()

    alone = pixels(engines.shared("flux", "off"), JOB)[0]
    assert np.abs(picture(fleet, result) - alone).max() <= 1
    assert str(result.worker).startswith("group@")


def test_many_jobs_are_one_after_the_other(fleet: Fleet, group: ChildProcess, client: Client, engines: Engines) -> None:
    """To the queue a group is one worker; sizes, steps and counts differ."""
    jobs = [JOB.model_copy(update={"seed": i, "steps": 1 + i % 3, "width": 64 + 32 * (i % 2)}) for i in range(6)]
    results = [client.result(job_id, timeout_s=60) for job_id in client.submit_many(jobs)]

    for job, result in zip(jobs, results, strict=True):
        assert np.abs(picture(fleet, result) - pixels(engines.shared("flux", "off"), job)[0]).max() <= 1


def wait_for_progress(client: Client, job_id: str) -> None:
    wait_until(lambda: client.get(job_id).progress, 30)


def test_a_cancel_stops_all_ranks_at_the_same_step(
    group: ChildProcess, members: dict[int, psutil.Process], client: Client
) -> None:
    """A rank that went on would wait for the others for ever: the next job shows that none did."""
    job_id = client.submit(JOB, steps=200)
    wait_for_progress(client, job_id)
    client.cancel(job_id)

    assert client.result(job_id, timeout_s=10).status == JobStatus.CANCELED
    assert client.result(client.submit(JOB), timeout_s=30).status == JobStatus.SUCCEEDED
    assert ranks(group) == members


def test_a_deadline_stops_all_ranks(group: ChildProcess, members: dict[int, psutil.Process], client: Client) -> None:
    job_id = client.submit(JOB, steps=200, deadline=datetime.now(UTC) + timedelta(seconds=1))

    assert client.result(job_id, timeout_s=30).status == JobStatus.EXPIRED
    assert client.result(client.submit(JOB), timeout_s=30).status == JobStatus.SUCCEEDED
    assert ranks(group) == members


def test_an_error_in_the_model_is_the_jobs_alone(
    group: ChildProcess, members: dict[int, psutil.Process], client: Client
) -> None:
    """The backend of CPUs cannot split an odd number of patches; both ranks say so, and take the next job."""
    result = client.result(client.submit(JOB, width=80, height=48), timeout_s=30)

    assert result.error
    assert (result.status, result.error.code) == (JobStatus.FAILED, "generation_failed")
    assert client.result(client.submit(JOB), timeout_s=30).status == JobStatus.SUCCEEDED
    assert ranks(group) == members


def test_sigterm_drains_the_whole_group(
    group: ChildProcess, members: dict[int, psutil.Process], client: Client
) -> None:
    """The running job ends, then every rank does, with 0."""
    job_id = client.submit(JOB, steps=100)
    wait_for_progress(client, job_id)

    assert group.stop(40) == ExitCode.OK
    assert client.result(job_id, timeout_s=1).status == JobStatus.SUCCEEDED
    assert all(has_ended(process) for process in members.values())
    assert "follower leaves" in group.output()
    assert len(members) == 2
