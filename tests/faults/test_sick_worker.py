"""A worker at which jobs fail that other workers can make: it finds out, leaves, and its jobs are made elsewhere."""

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.servers.flaky_s3_proxy import FlakyS3, Weather
from tests.support.waiting import wait_until

from imagefleet import Client, JobStatus
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.supervision.child_process import ChildProcess

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[Fleet]:
    """A healthy worker."""
    with running_fleet(tmp_path_factory.mktemp("sick")) as fleet:
        fleet.start("healthy")
        yield fleet


def submit_and_wait(fleet: Fleet, sick: ChildProcess, *, code: ExitCode) -> None:
    """Jobs come until *sick* has ended with *code*; all of them succeed."""
    with Client(fleet.redis.url) as client:
        start, ids = time.monotonic(), list[str]()

        def has_ended() -> bool:
            ids.extend(client.submit_many(["a fox"] * 8))  # more than the other worker takes at once
            return not sick.is_running

        wait_until(has_ended, 60, every_s=0.5)
        print(f"measured a sick worker, until it has ended: {time.monotonic() - start:.1f} s")
        results = list(client.as_completed(ids, timeout_s=60))

    assert sick.exit_code == code, sick.log_tail(20)
    assert {result.status for result in results} == {JobStatus.SUCCEEDED}
    assert all(str(result.worker).startswith("healthy@") for result in results)
    assert "tests itself" in sick.output()
    assert "jobs fail in a row at 0 of 1 other workers" in sick.output()


def test_a_worker_whose_device_fails_every_job_leaves(fleet: Fleet, tmp_path: Path) -> None:
    """In words that nobody knows: its own small image fails as well."""
    orders = tmp_path / "orders"
    env = {"FAULTS_RAISE_FILE": str(orders)}
    sick = fleet.start("sick", env=env, options=("-I", "tests.support.devices.broken_device"))
    wait_until_ready(sick)
    orders.write_text("host")

    submit_and_wait(fleet, sick, code=ExitCode.DEVICE_FAULT)


def test_a_worker_whose_credentials_are_refused_leaves(fleet: Fleet) -> None:
    """Its test write is refused as well, while that of the other worker is not."""
    with closing(FlakyS3(fleet.s3.endpoint_url)) as s3:
        sick = fleet.start("refused", env={"IMAGEFLEET_STORAGE_ENDPOINT_URL": s3.url})
        wait_until_ready(sick)
        s3.weather = Weather(denied=1)

        submit_and_wait(fleet, sick, code=ExitCode.STORAGE_UNAVAILABLE)


def test_jobs_that_are_at_fault_do_not_end_a_worker(fleet: Fleet, tmp_path: Path) -> None:
    """They fail, the self-test passes, and the worker goes on."""
    orders = tmp_path / "orders"
    env = {"FAULTS_RAISE_FILE": str(orders), "IMAGEFLEET_MODEL_ALIAS": "alone", "IMAGEFLEET_ENGINE_MODE": "off"}
    worker = fleet.start("alone", env=env, options=("-I", "tests.support.devices.broken_device"))
    wait_until_ready(worker)
    with Client(fleet.redis.url) as client:
        orders.write_text("large")
        failed = [client.result(client.submit("a fox", model="alone", steps=2, width=128), timeout_s=30) for _ in "123"]
        wait_until(lambda: [each.failures for each in client.workers() if each.model == "alone"] == [3])
        after = client.result(client.submit("a fox", model="alone", steps=2), timeout_s=30)

    assert [result.status for result in failed] == [JobStatus.FAILED] * 3
    assert [result.attempts for result in failed] == [1, 1, 1]  # there is no elsewhere
    assert after.status is JobStatus.SUCCEEDED
    assert "the self-test has passed" in worker.output()
    assert "no other worker serves the model" in worker.output()
