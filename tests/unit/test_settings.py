"""Settings: one page of variables, checked whole."""

from pathlib import Path

import pytest

from imagefleet_worker.errors import SettingsInvalid
from imagefleet_worker.settings import EngineMode, Settings


def test_every_bad_variable_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person mends all of them at once."""
    monkeypatch.setenv("IMAGEFLEET_ENGINE_MODE", "fast")
    monkeypatch.setenv("IMAGEFLEET_LEASE_DURATION_S", "soon")

    with pytest.raises(SettingsInvalid, match=r"IMAGEFLEET_LEASE_\*: duration_s.*IMAGEFLEET_ENGINE_\*: mode"):
        Settings.load()


def test_a_repository_must_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch may change under a running fleet; a commit cannot."""
    monkeypatch.setenv("IMAGEFLEET_MODEL_SOURCE", "somebody/some-model")

    with pytest.raises(SettingsInvalid, match="MODEL_REVISION"):
        Settings.load()


def test_a_folder_needs_no_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lies on this machine is what it is."""
    monkeypatch.setenv("IMAGEFLEET_MODEL_SOURCE", str(tmp_path))

    assert str(tmp_path) == Settings.load().model.source


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and charts pass empty strings for what is not set."""
    monkeypatch.setenv("IMAGEFLEET_ENGINE_MODE", "")

    assert Settings.load().engine.mode == EngineMode.MERGE


def test_secrets_are_split_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two secrets while one is rotated out; neither in a log."""
    monkeypatch.setenv("IMAGEFLEET_WEBHOOK_SECRETS", "whsec_one, whsec_two")

    webhook = Settings.load().webhook

    assert [secret.get_secret_value() for secret in webhook.secrets] == ["whsec_one", "whsec_two"]
    assert "whsec" not in repr(webhook)


def test_mistyped_group_variables_do_not_pass_as_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit below one would refuse every job."""
    monkeypatch.setenv("IMAGEFLEET_LIMIT_MAX_STEPS", "0")

    with pytest.raises(SettingsInvalid, match="max_steps"):
        Settings.load()
