"""Devices that fail again and again under `imagefleet-worker --devices`, and two signals."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.supervisor_process import running_supervisor
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with running_fleet(tmp_path / "fleet") as fleet:
        yield fleet


def test_device_that_faults_again_and_again_is_left_alone(fleet: Fleet, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    fault.write_text("accelerator")  # the warm-up is off: it would say 71, before any job
    env = {
        "FAULTS_RAISE_FILE": str(fault),
        "IMAGEFLEET_MODEL_WARM_UP": "false",
        "IMAGEFLEET_DEVICES_MAX_FAULTS": "2",
        "IMAGEFLEET_LEASE_MAX_DELIVERIES": "9",
    }
    options = ("-I", "tests.support.devices.broken_device")
    with (
        running_supervisor(fleet, tmp_path, devices="cpu:1", options=options, env=env) as supervisor,
        fleet.client() as client,
    ):
        job_id = client.submit("an owl")

        wait_until(lambda: not supervisor.child.is_running, 200)

        assert supervisor.child.exit_code == 74
        entry = supervisor.entry("cpu0")
        assert entry
        assert (entry.state, entry.restarts, entry.faults) == ("bad", 1, 2)
        assert "2 faults within" in supervisor.child.output()
        assert client.status(job_id) in ("queued", "running")  # the job is not lost with its device


def test_second_signal_hands_back_at_once(fleet: Fleet, tmp_path: Path) -> None:
    env = {"FAULTS_FORWARD_S": "5", "IMAGEFLEET_MODEL_WARM_UP": "false", "IMAGEFLEET_WORKER_DRAIN_S": "100"}
    options = ("-I", "tests.support.devices.slow_device")
    with (
        running_supervisor(fleet, tmp_path, devices="cpu:1", options=options, env=env) as supervisor,
        fleet.client() as client,
    ):
        job_id = client.submit("an owl", steps=50)
        wait_until(lambda: client.status(job_id) == "running", 90)

        supervisor.child.send(signal.SIGINT)
        wait_until(lambda: "1 job running" in supervisor.child.output(), 10)
        supervisor.child.send(signal.SIGINT)

        assert supervisor.child.wait(10) == 0
        assert client.queue_length() == 1
