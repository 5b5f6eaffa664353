"""Rates over the last minute."""

import pytest

from imagefleet_worker.pace import Pace, Rates


def test_nothing_is_said_before_there_are_two_marks() -> None:
    assert Pace().note(at=100, images=7, busy_s=3) == Rates(0, 0)


def test_a_young_process_is_measured_since_its_first_mark() -> None:
    pace = Pace()
    pace.note(at=100, images=1, busy_s=0)
    assert pace.note(at=104, images=3, busy_s=3) == Rates(0.5, 0.75)


def test_what_is_older_than_a_minute_no_longer_counts() -> None:
    pace = Pace()
    for second in range(0, 301, 2):
        busy = pace.note(at=second, images=min(200, second), busy_s=second)
    assert busy == Rates(0, 1)
    assert pace.note(at=302, images=230, busy_s=302).images == pytest.approx(0.5)
    assert len(pace._marks) <= 32


def test_a_device_is_never_busier_than_all_the_time() -> None:
    """Decoding and denoising of two jobs may overlap, and both are counted."""
    pace = Pace()
    pace.note(at=0, images=0, busy_s=0)
    assert pace.note(at=1, images=0, busy_s=1.6).busy == 1
