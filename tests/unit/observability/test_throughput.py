"""Rates over the last minute."""

import pytest

from imagefleet_worker.observability.throughput import JobRate, Rates, RateWindow


def test_nothing_is_said_before_there_are_two_marks() -> None:
    assert RateWindow().note(at=100, images=7, busy_s=3) == Rates(0, 0)


def test_a_young_process_is_measured_since_its_first_mark() -> None:
    pace = RateWindow()
    pace.note(at=100, images=1, busy_s=0)
    assert pace.note(at=104, images=3, busy_s=3) == Rates(0.5, 0.75)


def test_what_is_older_than_a_minute_no_longer_counts() -> None:
    pace = RateWindow()
    for second in range(0, 301, 2):
        busy = pace.note(at=second, images=min(200, second), busy_s=second)
    assert busy == Rates(0, 1)
    assert pace.note(at=302, images=230, busy_s=302).images == pytest.approx(0.5)
    assert len(pace._marks) <= 32


def test_a_device_is_never_busier_than_all_the_time() -> None:
    """Decoding and denoising of two jobs may overlap, and both are counted."""
    pace = RateWindow()
    pace.note(at=0, images=0, busy_s=0)
    assert pace.note(at=1, images=0, busy_s=1.6).busy == 1


def test_speed_is_of_time_with_jobs_and_is_kept_while_there_are_none() -> None:
    speed = JobRate()
    assert speed.note(worked_s=0, ended=0) is None
    assert speed.note(worked_s=3, ended=0) is None
    assert speed.note(worked_s=4, ended=2) == 0.5
    for _ in range(100):
        assert speed.note(worked_s=4, ended=2) == 0.5
    assert len(speed._window._marks) == 2


def test_speed_of_long_jobs_is_counted_from_end_to_end() -> None:
    speed = JobRate()
    speed.note(worked_s=600, ended=1)
    assert speed.note(worked_s=900, ended=1) == pytest.approx(1 / 600)
    assert speed.note(worked_s=1100, ended=2) == pytest.approx(1 / 500)


def test_speed_forgets_what_is_older_than_a_minute_of_work() -> None:
    speed = JobRate()
    for second in range(1, 121):
        speed.note(worked_s=second, ended=second)
    for second in range(121, 182):
        speed.note(worked_s=second, ended=120 + 3 * (second - 120))
    assert speed.note(worked_s=182, ended=306) == pytest.approx(3)
