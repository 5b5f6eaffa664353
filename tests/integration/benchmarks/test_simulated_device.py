"""The made-up device of the scaling benchmark still has all that a worker asks of a real one."""

from pathlib import Path

from tests.benchmarks._many_workers import team


def test_jobs_end_on_a_made_up_device(tmp_path: Path) -> None:
    with team(tmp_path, job_s=0.02) as group:
        group.grow(1)

        results = [result.raise_for_status() for result in group.client.as_completed(group.submit(3), timeout_s=60)]

        assert len(results) == 3
        assert group.counts()[0].jobs == 3
        assert group.workers_memory_bytes() < 150 * 2**20, "64 of them would not fit: does one import torch?"
