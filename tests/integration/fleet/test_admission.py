"""A busy worker leaves a job to an idle one."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.fleet.fleet import Fleet

from imagefleet import Client

SIDE = 64
LONG: dict[str, Any] = {"width": SIDE, "height": SIDE, "steps": 150}
BURSTS = 4


@pytest.fixture
def fleet(busy_fleet: Fleet) -> Fleet:
    return busy_fleet


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
