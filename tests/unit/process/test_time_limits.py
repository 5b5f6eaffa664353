"""Of a job's time limits, the message's come before those of `control time_limit`, and these before the worker's."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from imagefleet_worker.process.start_check import NO_LIMITS, TimeLimits
from imagefleet_worker.tasks import _time_limit_s


@pytest.mark.parametrize(
    ("message", "control", "worker", "seconds"),
    [
        (None, NO_LIMITS, NO_LIMITS, math.inf),
        (None, NO_LIMITS, TimeLimits(60, 50), 50),
        (None, TimeLimits(hard=70), TimeLimits(60, None), 70),
        ([300, None], NO_LIMITS, TimeLimits(60, None), 300),
        ([300, None], NO_LIMITS, TimeLimits(60, 50), 50),
        ([None, 20], TimeLimits(soft=30), TimeLimits(60, 50), 20),
    ],
)
def test_each_limit_is_taken_where_it_is_said_most_closely(
    message: list[float | None] | None, control: TimeLimits, worker: TimeLimits, seconds: float
) -> None:
    """As in Celery, for the hard and the soft limit alike."""
    task: Any = SimpleNamespace(
        request=SimpleNamespace(timelimit=message), time_limit=control.hard, soft_time_limit=control.soft
    )
    assert _time_limit_s(task, default=worker) == seconds
