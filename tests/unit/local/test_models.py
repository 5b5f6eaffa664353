"""What `imagefleet up` serves: named on the command line, pinned at the first start."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.local.commits import Commits
from imagefleet_worker.local.models import LocalModel, default, group_slot, parse_models, slots_for
from imagefleet_worker.local.webhook_secret import secrets_for
from imagefleet_worker.settings import WebhookSettings

NOW, LATER, TAGGED = "a" * 40, "b" * 40, "c" * 40


class Hub:
    """A stand-in for the API of Hugging Face: the commits of one repository."""

    def __init__(self) -> None:
        self.commits = {"main": NOW, "v1": TAGGED}
        self.asked: list[str] = []

    def answer(self, path: str) -> tuple[int, dict[str, str]]:
        self.asked.append(path)
        repository, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        known = repository == "someone/painter" and revision in self.commits
        return (200, {"sha": self.commits[revision]}) if known else (404, {"error": "Repository not found"})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = hub.answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that http.server calls
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield hub
        server.shutdown()
        serving.join()


@pytest.fixture
def commits(tmp_path: Path) -> Commits:
    return Commits(tmp_path / "data" / "commits.json")


def test_main_is_a_commit_at_the_first_start_and_the_same_one_later(hub: Hub, commits: Commits) -> None:
    assert commits.commit_of("someone/painter", None) == NOW
    hub.commits["main"] = LATER
    assert commits.commit_of("someone/painter", None) == NOW
    assert hub.asked == ["/api/models/someone/painter/revision/main"]
    assert commits.commit_of("someone/painter", "main") == LATER, "asked for by name, it is looked up again"
    assert commits.commit_of("someone/painter", None) == LATER


def test_a_tag_is_looked_up_and_a_commit_is_not(hub: Hub, commits: Commits) -> None:
    assert commits.commit_of("someone/painter", "v1") == TAGGED
    assert commits.commit_of("someone/painter", "d" * 40) == "d" * 40
    assert len(hub.asked) == 1


def test_a_commit_that_cannot_be_found_out_is_said_with_the_way_out(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"someone/paniter: .* shows no revision 'main' .* Is the name right"):
        Commits(tmp_path / "a").commit_of("someone/paniter", None)
    with pytest.raises(SettingsInvalid, match="offline; give its commit with --revision, or a folder"):
        Commits(tmp_path / "b", offline=True).commit_of("someone/painter", None)


def test_a_hub_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(SettingsInvalid, match=r"127\.0\.0\.1:1 cannot be reached for the commit of 'main'"):
        Commits(tmp_path / "a").commit_of("someone/painter", None)


def test_several_models_have_names_and_sources(hub: Hub, commits: Commits, tmp_path: Path) -> None:
    folder = tmp_path / "with = sign"
    folder.mkdir()
    texts = [str(folder), "photo=someone/painter"]
    assert parse_models(texts, revision=None, commits=commits) == [
        LocalModel(str(folder)),
        LocalModel("someone/painter", NOW, "photo"),
    ]


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["dreamshaper.safetensors"], "this is a file, and a model is a folder .*from_single_file"),
        (["./nowhere"], "there is no such folder, and a repository id"),
        (["painter"], "has the form owner/name"),
        (["My_Model=./"], "'My_Model' cannot name a model; use up to 63 lower-case letters"),
        (["./", "./"], "two models are called 'default'"),
    ],
)
def test_what_names_no_model_is_refused_in_words(
    texts: list[str], sentence: str, commits: Commits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dreamshaper.safetensors").touch()
    with pytest.raises(SettingsInvalid, match=sentence):
        parse_models(texts, revision=None, commits=commits)


def test_models_share_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = LocalModel("a", alias="one"), LocalModel("b", alias="two")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert [(slot.name, model.alias) for slot, model in slots_for([one, two], None)] == [
        ("gpu0", "one"),
        ("gpu1", "two"),
        ("gpu2", "one"),
    ]
    with pytest.raises(SettingsInvalid, match="2 models need a device each, and this fleet has 1 of 3"):
        slots_for([one, two], 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [(slot.name, model.alias) for slot, model in slots_for([one, two], 2)] == [
        ("cpu0", "one"),
        ("cpu1", "one"),
        ("cpu2", "two"),
        ("cpu3", "two"),
    ]


def test_a_device_group_is_one_worker_with_one_model() -> None:
    model = LocalModel("a")
    assert [(slot.name, dict(slot.env), served) for slot, served in group_slot([model], None)] == [("group", {}, model)]
    for models, workers in (([model, model], None), ([model], 2)):
        with pytest.raises(SettingsInvalid, match="makes all devices one worker: give one --model and no --workers"):
            group_slot(models, workers)


def test_what_the_user_sets_wins_over_the_settings_of_the_default_model() -> None:
    assert default({}).environment()["IMAGEFLEET_MODEL_DEFAULT_STEPS"] == "20"
    own = default({"IMAGEFLEET_MODEL_DEFAULT_STEPS": "7"})
    assert own.environment()["IMAGEFLEET_MODEL_DEFAULT_STEPS"] == "7"


def test_the_secret_of_webhooks_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    made = secrets_for(tmp_path / "data", {})
    assert secrets_for(tmp_path / "data", {}) == made
    assert WebhookSettings.model_validate({"secrets": made}).secrets[0].get_secret_value() == made
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()] == [0o600]
    assert secrets_for(tmp_path / "data", {"IMAGEFLEET_WEBHOOK_SECRETS": "whsec_b3du"}) == "whsec_b3du"
