"""A busy worker leaves a job to an idle one."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.fleet import Fleet, running_fleet
from tests.support.processes import wait_until_ready

from imagefleet import Client

SIDE = 64
LONG: dict[str, Any] = {"width": SIDE, "height": SIDE, "steps": 150}
BURSTS = 4


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers of one queue whose devices are full with one job: by the mode, and by the budget."""
    with running_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        workers = [
            fleet.start("off", env={"IMAGEFLEET_ENGINE_MODE": "off"}),
            fleet.start("merge", env={"IMAGEFLEET_ENGINE_MAX_PIXELS": str(2 * SIDE * SIDE)}),
        ]
        for worker in workers:
            wait_until_ready(worker)
        yield fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    """A client of the fleet."""
    with fleet.client() as client:
        yield client


def test_no_device_is_idle_while_a_job_waits_for_the_other(client: Client) -> None:
    """Of two jobs that come at once, each worker makes one, burst after burst."""
    for burst in range(BURSTS):
        ids = client.submit_many([{**LONG, "prompt": "a fox", "seed": seed} for seed in range(2)])
        results = [client.result(job_id, timeout_s=60).raise_for_status() for job_id in ids]
        made = Counter((result.worker or "").split("@")[0] for result in results)
        assert made == {"off": 1, "merge": 1}, f"burst {burst}"


def test_a_longer_burst_keeps_both_at_work_to_its_end(client: Client) -> None:
    """Neither worker takes more of six jobs than the other can spare."""
    ids = client.submit_many([{**LONG, "prompt": "a fox", "seed": seed} for seed in range(6)])
    results = [client.result(job_id, timeout_s=120).raise_for_status() for job_id in ids]
    made = Counter((result.worker or "").split("@")[0] for result in results)
    assert min(made["off"], made["merge"]) >= 2
