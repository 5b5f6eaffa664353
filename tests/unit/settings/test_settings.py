"""Settings: one page of variables, checked whole."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.cli import commands
from imagefleet_worker.settings import EngineMode, Settings


def test_every_bad_variable_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person mends all of them at once."""
    monkeypatch.setenv("IMAGEFLEET_ENGINE_MODE", "fast")
    monkeypatch.setenv("IMAGEFLEET_LEASE_DURATION_S", "soon")

    with pytest.raises(SettingsInvalid, match=r"IMAGEFLEET_LEASE_DURATION_S: .*IMAGEFLEET_ENGINE_MODE: "):
        Settings.load()


def test_a_repository_must_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch may change under a running fleet; a commit cannot."""
    monkeypatch.setenv("IMAGEFLEET_MODEL_SOURCE", "somebody/some-model")

    with pytest.raises(SettingsInvalid, match="MODEL_REVISION"):
        Settings.load()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("dreamshaper.safetensors", "is a file, and a model is a folder .*from_single_file"),
        ("./nowhere", "is no folder on this machine, and a repository id has the form owner/name"),
        ("somebody/some-model", "set IMAGEFLEET_MODEL_REVISION to the commit to serve: 40 hexadecimal digits"),
    ],
)
def test_a_source_that_is_no_model_is_said_with_the_way_out(
    source: str, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dreamshaper.safetensors").touch()
    monkeypatch.setenv("IMAGEFLEET_MODEL_SOURCE", source)

    with pytest.raises(SettingsInvalid, match=sentence):
        Settings.load()


def test_a_branch_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_MODEL_REVISION", "main")

    with pytest.raises(SettingsInvalid, match="must be a commit, 40 hexadecimal digits, and no branch"):
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
    monkeypatch.setenv("IMAGEFLEET_WEBHOOK_SECRETS", "whsec_b25l, whsec_dHdv")

    webhook = Settings.load().webhook

    assert [secret.get_secret_value() for secret in webhook.secrets] == ["whsec_b25l", "whsec_dHdv"]
    assert "whsec" not in repr(webhook)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SECRETS", "hunter2", "whsec_ and base64"),
        ("SECRETS", "whsec_", "whsec_ and base64"),
        ("SECRETS", "whsec_b25l,whsec_?", "not base64"),
        ("ENDPOINT_SECRETS", "hooks.example.com=whsec_b25l", "not JSON"),
        ("ENDPOINT_SECRETS", "[]", "JSON object"),
        ("ENDPOINT_SECRETS", '{"hooks.example.com": "hunter2"}', "hooks.example.com.*whsec_ and base64"),
        ("ENDPOINT_SECRETS", '{"https://hooks.example.com:x/": "whsec_b25l"}', "no host, host:port or URL"),
        ("ENDPOINT_SECRETS", '{"/hook": "whsec_b25l"}', "no host, host:port or URL"),
    ],
)
def test_a_secret_that_cannot_sign_is_found_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    """And not when the first webhook fails; the secret itself is in no message."""
    monkeypatch.setenv(f"IMAGEFLEET_WEBHOOK_{name}", value)

    with pytest.raises(SettingsInvalid, match=sentence) as invalid:
        Settings.load()

    assert "hunter2" not in invalid.value.message


def test_each_endpoint_may_have_secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One or a list, and commas as in the secrets for all."""
    given = '{"hooks.example.com": "whsec_b25l,whsec_dHdv", "https://other.example/a/": ["whsec_dHdv"]}'
    monkeypatch.setenv("IMAGEFLEET_WEBHOOK_ENDPOINT_SECRETS", given)

    webhook = Settings.load().webhook

    assert {where: len(secrets) for where, secrets in webhook.endpoint_secrets.items()} == {
        "hooks.example.com": 2,
        "https://other.example/a/": 1,
    }
    assert "whsec" not in repr(webhook)


def test_mistyped_group_variables_do_not_pass_as_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit below one would refuse every job."""
    monkeypatch.setenv("IMAGEFLEET_LIMIT_MAX_STEPS", "0")

    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_LIMIT_MAX_STEPS"):
        Settings.load()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://worker:geheim@redis.internal:6379/0", "redis://worker:***@redis.internal:6379/0"),
        ("rediss://:ge%40heim@redis.internal/0", "rediss://:***@redis.internal/0"),
        (
            "sentinel://:geheim@a:26379;sentinel://:geheim@b:26379/0",
            "sentinel://:***@a:26379;sentinel://:***@b:26379/0",
        ),
    ],
)
def test_the_settings_are_shown_without_passwords(url: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", url)
    monkeypatch.setenv("IMAGEFLEET_REDIS_SENTINEL_MASTER", "mymaster")
    monkeypatch.setenv("COLUMNS", "400")
    printed = CliRunner().invoke(commands.app, ["settings"]).stdout
    assert shown in printed
    assert "heim" not in printed


def test_a_worker_refuses_the_one_url_that_celery_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_REDIS_URL", "unix:///run/redis.sock")

    with pytest.raises(SettingsInvalid, match=r"IMAGEFLEET_REDIS_URL.*unix:// is for clients"):
        Settings.load()


@pytest.mark.parametrize("name", ["KEY", "CERTIFICATE"])
def test_signing_needs_both_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"IMAGEFLEET_PROVENANCE_C2PA_{name}_FILE", "/etc/imagefleet/tls")
    missing = {"KEY": "CERTIFICATE", "CERTIFICATE": "KEY"}[name]

    with pytest.raises(SettingsInvalid, match=f"C2PA_{missing}_FILE is not set.*set it, or leave both out"):
        Settings.load()


def test_a_key_that_is_given_instead_of_its_file_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_PROVENANCE_C2PA_KEY_FILE", "-----BEGIN PRIVATE KEY-----\ngeheim\n")
    monkeypatch.setenv("IMAGEFLEET_PROVENANCE_C2PA_CERTIFICATE_FILE", "/etc/imagefleet/tls.crt")

    shown = CliRunner().invoke(commands.app, ["settings"])

    assert shown.exit_code == 78
    assert "C2PA_KEY_FILE: is the path of a PEM file, not its content" in shown.stderr
    assert "geheim" not in shown.output + shown.stderr
