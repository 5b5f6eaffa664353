"""A short run of the fuzz; `python -m tests.faults.fuzz` is the long one."""

from pathlib import Path

import pytest
from tests.faults.fuzz.run import fuzz


@pytest.mark.timeout(300)
def test_no_mutated_message_vanishes_or_harms_a_good_one(tmp_path: Path) -> None:
    """Each ends as a job, a result or a dead letter, and all good jobs between them succeed."""
    outcome = fuzz(tmp_path, messages=500, good=20, seed=2)

    assert outcome.counts() == {"good": 20, "good_failed": 0, "unaccounted": 0, "held": 0, "workers_died": 0}, (
        outcome.unaccounted
    )
