"""Without the extras a command says which to install, and `health` works."""

import subprocess
import sys
from pathlib import Path

import pytest

#: Runs the module in the second argument as if the packages in the first one were not installed.
WITHOUT = """
import runpy
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in gone else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

gone = sys.argv.pop(1).split(",")
sys.meta_path[:] = map(Hiding, sys.meta_path)
module = sys.argv.pop(1)
if module == "imagefleet_worker.cli":
    from imagefleet_worker.cli import main
    main()
runpy.run_module(module, run_name="__main__")
"""
WORKER = "torch,diffusers,transformers,boto3"
SENDER = f"{WORKER},pydantic_settings,structlog,httpcore,prometheus_client"


def _run(
    gone: str, *arguments: str, module: str = "imagefleet_worker.cli", folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT, gone, module, *arguments]
    env = {"IMAGEFLEET_HEALTH_FOLDER": str(folder or "")}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [["settings"], ["doctor"], ["--devices", "cpu:1"], ["--help"]])
def test_a_worker_without_any_extra_says_which_to_install(arguments: list[str]) -> None:
    ended = _run(f"{SENDER},celery,kombu", *arguments)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "pip install 'imagefleet[worker]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["doctor"], ["--devices", "cpu:1"]])
def test_what_needs_torch_and_boto3_says_so(arguments: list[str]) -> None:
    ended = _run(WORKER, *arguments)
    assert ended.returncode == 1
    assert "pip install 'imagefleet[worker]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("celery", ["-A", "imagefleet_worker.app", "worker"]),
        ("celery", ["-A", "imagefleet_worker.app", "inspect", "ping"]),
        ("imagefleet_worker.group", ["--size", "2"]),
    ],
)
def test_celery_and_device_groups_without_any_extra_say_so_too(module: str, arguments: list[str]) -> None:
    ended = _run(SENDER, *arguments, module=module)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "pip install 'imagefleet[worker]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "code"),
    [("celery", ["-A", "imagefleet_worker.app", "worker"], 78), ("imagefleet_worker.group", ["--size", "2"], 1)],
)
def test_what_only_sends_webhooks_makes_no_images(module: str, arguments: list[str], code: int) -> None:
    """With the extra for senders, before anything connects."""
    ended = _run(WORKER, *arguments, module=module)
    assert ended.returncode == code
    assert "torch, diffusers, transformers, boto3: pip install 'imagefleet[worker]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_sender_of_webhooks_can_show_its_settings() -> None:
    ended = _run(WORKER, "settings")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "IMAGEFLEET_REDIS_URL" in ended.stdout


def test_health_needs_none_of_them(tmp_path: Path) -> None:
    """Nor typer or pydantic: a probe runs every few seconds beside a busy device."""
    ended = _run(f"{SENDER},typer,rich,click,pydantic,redis,celery", "health", "live", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "no heartbeat: no worker has started here yet\n")


def test_health_has_a_help_of_its_own() -> None:
    ended = _run(f"{SENDER},typer,pydantic", "health", "--help")
    assert ended.returncode == 0
    assert "live|ready|startup" in ended.stdout
