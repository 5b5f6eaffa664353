"""When the worker of a device is started again."""

import pytest

from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.settings import DevicesSettings
from imagefleet_worker.supervision.restart_policy import GOOD_RUN_S, RestartPolicy


@pytest.fixture
def restarts() -> RestartPolicy:
    return RestartPolicy(DevicesSettings(max_faults=3, fault_window_s=1000, restart_max_s=8))


def test_pauses_grow_up_to_the_longest(restarts: RestartPolicy) -> None:
    pauses = [restarts.after(-9, served_s=0, now=moment).pause_s for moment in range(6)]
    assert pauses == [1, 2, 4, 8, 8, 8]


def test_good_run_makes_the_next_pause_short(restarts: RestartPolicy) -> None:
    for moment in range(3):
        restarts.after(1, served_s=0, now=moment)
    assert restarts.after(1, served_s=GOOD_RUN_S, now=100).pause_s == 1


def test_worker_that_was_asked_to_end_stays_away(restarts: RestartPolicy) -> None:
    assert restarts.after(ExitCode.OK, served_s=5, now=0)[:2] == (None, "stopped")


def test_invalid_settings_are_not_tried_again(restarts: RestartPolicy) -> None:
    assert restarts.after(ExitCode.SETTINGS_INVALID, served_s=0, now=0)[:2] == (None, "failed")


@pytest.mark.parametrize("code", [ExitCode.DEVICE_HUNG, ExitCode.DEVICE_FAULT, ExitCode.MODEL_UNAVAILABLE])
def test_device_with_repeated_faults_is_bad_however_long_it_served_between(restarts: RestartPolicy, code: int) -> None:
    states = [restarts.after(code, served_s=300, now=300.0 * index).state for index in range(3)]
    assert states == ["pausing", "pausing", "bad"]


def test_old_faults_are_forgiven(restarts: RestartPolicy) -> None:
    states = [restarts.after(ExitCode.DEVICE_FAULT, served_s=600, now=600.0 * index).state for index in range(6)]
    assert set(states) == {"pausing"}


def test_redis_that_is_away_is_waited_for_without_end(restarts: RestartPolicy) -> None:
    verdicts = [restarts.after(ExitCode.REDIS_UNAVAILABLE, served_s=0, now=8.0 * index) for index in range(200)]
    assert {verdict.state for verdict in verdicts} == {"pausing"}
