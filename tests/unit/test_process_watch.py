"""The figures of the soak: what of a process counts as growth."""

import os

from tests.benchmarks._process_watch import ProcessWatch, Sample


def test_only_the_second_half_of_a_run_counts_as_growth() -> None:
    """In the first half everything is used for the first time."""
    watch = ProcessWatch(pid=0)
    watch.samples = [
        Sample(jobs, resident, fds=1, threads=1)
        for jobs, resident in ((100, 0), (200, 9_000), (300, 9_300), (350, 10), (400, 9_600))
    ]

    assert watch.bytes_per_job() == 3
    assert [sample.jobs for sample in watch.second_half()] == [200, 300, 350, 400]


def test_a_sample_says_what_the_process_uses_now() -> None:
    sample = ProcessWatch(os.getpid()).note(1)

    assert sample.resident > 2**20
    assert min(sample.fds, sample.threads) >= 1
