"""A task that is called where no worker runs says how jobs are sent."""

import pytest

from imagefleet_worker.process import current


def test_a_task_outside_of_a_worker_says_how_jobs_are_sent() -> None:
    with pytest.raises(RuntimeError, match=r"cannot run here.*send the job with imagefleet.Client or send_task"):
        current.current()
