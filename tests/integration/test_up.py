"""`imagefleet up`: a fleet that starts, works, and leaves nothing behind."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support.processes import clean_environment
from tests.support.tiny_pipelines import build
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet_worker.children import Child

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Child]:
    """The command with a tiny model and one worker on the CPU."""
    model = build("sd", tmp_path / "model")
    options = ["--model", str(model), "--workers", "1", "--data", str(tmp_path / "data")]
    command = [sys.executable, "-c", "from imagefleet.cli import main; main()", "up", *options]
    child = Child("up", command, log=tmp_path / "up.log", env={**clean_environment(), "CUDA_VISIBLE_DEVICES": ""})
    try:
        yield child
    finally:
        child.stop(60)


def _family(child: Child) -> list[psutil.Process]:
    return psutil.Process(child.pid).children(recursive=True)


def _variables(child: Child) -> dict[str, str]:
    lines = [line.removeprefix("export ") for line in child.output().splitlines() if line.startswith("export ")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_fleet_works_and_leaves_no_process(up: Child, number: signal.Signals) -> None:
    wait_until(lambda: not up.is_running or "imagefleet submit" in up.output(), 150)
    assert up.is_running, up.last_words()
    family = _family(up)
    assert len(family) >= 4  # Redis, S3, an image worker, a sender
    with Client(_variables(up)["IMAGEFLEET_REDIS_URL"]) as client:
        result = client.result(client.submit("a paper boat", steps=2, width=64, height=64), timeout_s=60)
    assert result.raise_for_status().artifacts

    os.kill(up.pid, number)

    assert up.wait(60) == 0
    assert [process for process in family if process.is_running()] == []


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_signal_while_it_starts_leaves_no_process(up: Child, number: signal.Signals, exit_code: int) -> None:
    wait_until(lambda: len(_family(up)) >= 3, 60)
    family = _family(up)

    up.send(number)

    assert up.wait(90) == exit_code
    wait_until(lambda: not any(_runs(process) for process in family), 10)


def test_model_that_is_not_there_ends_it_with_the_workers_own_words(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    options = ["--model", str(tmp_path / "empty"), "--workers", "1", "--data", str(tmp_path / "data")]
    command = [sys.executable, "-c", "from imagefleet.cli import main; main()", "up", *options]
    child = Child("up", command, log=tmp_path / "up.log", env={**clean_environment(), "CUDA_VISIBLE_DEVICES": ""})
    try:
        wait_until(lambda: not child.is_running, 120)
    finally:
        child.stop(60)
    assert child.exit_code == 1
    assert "ended with 71" in child.output()
