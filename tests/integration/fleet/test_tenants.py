"""Tenants on a fleet: two workers take turns between them and keep the share of each."""

from pathlib import Path
from typing import Any

from tests.support.fleet.fleet import running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.waiting import wait_until

from imagefleet import JobStatus
from imagefleet.store.keys import Keys

KEYS = Keys()
QUEUE = "imagefleet.default"


def test_a_small_tenant_is_served_beside_a_big_one_on_a_real_worker_and_the_share_is_kept(tmp_path: Path) -> None:
    """2,000 jobs of one wait, one of another comes and is next; two workers together run two of a tenant, no more."""
    job: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4}
    with running_fleet(tmp_path, env={"IMAGEFLEET_WORKER_TENANT_JOBS": "2"}) as fleet, fleet.client() as client:
        big = client.submit_many([{**job, "tenant": "big"}] * 2000)
        workers = [fleet.start("gpu0"), fleet.start("gpu1")]
        for worker in workers:
            wait_until_ready(worker)
        running: list[int] = []
        with fleet.raw() as raw:
            wait_until(lambda: client.status(big[2]) is JobStatus.SUCCEEDED, 60)
            small = client.submit({**job, "tenant": "small"})

            def has_ended() -> bool:
                running.append(int(raw.hget(KEYS.tenants_running, f"{QUEUE} big") or 0))
                return client.status(small).is_final

            wait_until(has_ended, 30, every_s=0)
            begun = client.get(small).started_at
            assert begun
            ids = big[: len(big) - client.queue_length() - 2]
            later = [snapshot for each in ids if (snapshot := client.get(each)).started_at]
            queued = client.get(small).queued_at
            between = [each for each in later if queued and each.started_at and queued < each.started_at < begun]
        assert client.status(small) is JobStatus.SUCCEEDED
        assert len(between) <= 2, "each worker may have been about to begin one"
        assert max(running) == 2
        for each in workers:
            each.kill()
