"""Misspelt variables: the nearest name is told, before anything is started."""

import pytest
from tests.support import command_line

from imagefleet import Client
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.cli import main
from imagefleet_worker.settings import Settings, variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IMAGEFLEET_STORAGE_BUKET", "IMAGEFLEET_STORAGE_BUCKET"),
        ("IMAGEFLEET_SPEED_COMPLIE", "IMAGEFLEET_SPEED_COMPILE"),
        ("IMAGEFLEET_MODEL_SORCE", "IMAGEFLEET_MODEL_SOURCE"),
        ("IMAGEFLEET_STORGE_BUCKET", "IMAGEFLEET_STORAGE_BUCKET"),
        ("IMAGEFLEET_METRIC_PORT", "IMAGEFLEET_METRICS_PORT"),
        ("imagefleet_engine_mod", "IMAGEFLEET_ENGINE_MODE"),
        ("IMAGEFLEET_MAX_QUEUE", "IMAGEFLEET_MAX_QUEUED"),
    ],
)
def test_a_misspelt_setting_ends_a_worker_with_the_name_that_was_meant(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `imagefleet-worker settings` with 78, in the same words."""
    monkeypatch.setenv(name, "1")

    with pytest.raises(SettingsInvalid, match=f"{name} is no setting: did you mean {meant}\\?"):
        Settings.load()
    shown = command_line.run("settings", main=main)

    assert (shown.returncode, f"did you mean {meant}?" in shown.stderr) == (78, True)


def test_a_setting_of_a_group_that_is_like_no_other_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was meant for this group, whatever it was meant to be."""
    monkeypatch.setenv("IMAGEFLEET_ENGINE_TURBO_BUTTON", "1")

    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_ENGINE_TURBO_BUTTON is no setting"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGEFLEET_DEPLOYED_BY", "somebody"),
        ("IMAGEFLEET_REDIS_SERVICE_HOST", "10.0.0.1"),
        ("IMAGEFLEET_REDIS_SERVICE_PORT", "6379"),
        ("IMAGEFLEET_REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("IMAGEFLEET_REDIS_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ("IMAGEFLEET_MAX_QUEUED", "7"),
        ("IMAGEFLEET_TEST_REDIS_SERVER", "redis-server"),
    ],
)
def test_what_is_none_of_ours_is_left_alone(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of other programs, and those that Kubernetes sets for a service called imagefleet-redis."""
    monkeypatch.setenv(name, value)

    Settings.load()
    Client.from_env().close()


@pytest.mark.parametrize(
    ("name", "meant"), [("IMAGEFLEET_REDIS_ULR", "REDIS_URL"), ("IMAGEFLEET_MAXQUEUED", "MAX_QUEUED")]
)
def test_a_client_tells_the_name_that_was_meant(name: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command `imagefleet` ends with 78."""
    monkeypatch.setenv(name, "1")

    with pytest.raises(SettingsInvalid, match=f"{name} is no setting: did you mean IMAGEFLEET_{meant}"):
        Client.from_env()

    assert command_line.run("queues").returncode == 78


def test_a_client_leaves_every_setting_of_a_worker_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both may have one environment."""
    mine = {"IMAGEFLEET_REDIS_URL", "IMAGEFLEET_REDIS_KEY_PREFIX", "IMAGEFLEET_REDIS_SENTINEL_MASTER"}
    for name in set(variables()) - mine:
        monkeypatch.setenv(name, "1")

    Client.from_env().close()
