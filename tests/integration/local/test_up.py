"""`imagefleet up`: a fleet that starts, works, and leaves nothing behind."""

import hashlib
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from tests.support.fleet.processes import clean_environment
from tests.support.models.tiny_pipelines import build
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet.webhooks import verify
from imagefleet_worker.health import device_status, heartbeat_file, probes
from imagefleet_worker.local import command
from imagefleet_worker.supervision.child_process import ChildProcess, free_port

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[[], ChildProcess]]:
    """Starts the command with a tiny model, one worker on the CPU, and always the same folder and ports."""
    model = build("sd", tmp_path / "model")
    options = ["--model", str(model), "--workers", "1", "--data", str(tmp_path / "data"), *_ports()]
    command = [sys.executable, "-c", "from imagefleet.cli import main; main()", "up", *options]
    metrics = {"IMAGEFLEET_METRICS_PORT": str(free_port())}  # set outside: each process needs one of its own
    env = {**clean_environment(), "CUDA_VISIBLE_DEVICES": "", **metrics}
    started: list[ChildProcess] = []

    def start() -> ChildProcess:
        started.append(ChildProcess("up", command, log=tmp_path / f"up{len(started)}.log", env=env))
        return started[-1]

    yield start
    for child in started:
        child.stop(60)


@pytest.fixture
def up(start_up: Callable[[], ChildProcess]) -> ChildProcess:
    """The command, running."""
    return start_up()


def _ports() -> list[str]:
    """Options for ports that are free: the usual ones are those of the test of the quick start."""
    return ["--redis-port", str(free_port()), "--s3-port", str(free_port())]


def _family(child: ChildProcess) -> list[psutil.Process]:
    return psutil.Process(child.pid).children(recursive=True)


def _probe(folder: Path, name: str) -> probes.ProbeResult:
    """What a probe would say of the worker *name*."""
    beat = heartbeat_file.read(str(folder / "data" / "health" / name))
    birth = heartbeat_file.birth_of(beat.pid) if beat else None
    return probes.judge("ready", beat, now=heartbeat_file.now(), birth=birth)


def _variables(child: ChildProcess) -> dict[str, str]:
    words = [shlex.split(line) for line in child.output().splitlines() if line.startswith("export ")]
    return dict(pair.split("=", 1) for _, pair in words)


def _wait_until_ready(up: ChildProcess) -> None:
    wait_until(lambda: not up.is_running or "imagefleet submit" in up.output(), 150)
    assert up.is_running, up.log_tail()


def _end(up: ChildProcess, number: signal.Signals) -> None:
    """End it with a signal; it leaves no process."""
    family = _family(up)
    assert len(family) >= 4  # Redis, S3, an image worker, a sender
    os.kill(up.pid, number)
    assert up.wait(60) == 0
    assert [process for process in family if process.is_running()] == []


def test_fleet_works_leaves_no_process_and_has_all_again_after_a_restart(
    start_up: Callable[[], ChildProcess], tmp_path: Path, receiver: Receiver
) -> None:
    up = start_up()
    _wait_until_ready(up)
    for name in ("cpu0", "webhooks"):
        assert _probe(tmp_path, name).is_good, "said to be ready, and not ready by its heartbeat"
    variables = _variables(up)
    with Client(variables["IMAGEFLEET_REDIS_URL"]) as client:
        job = {"steps": 2, "width": 64, "height": 64, "presign": True, "webhook": {"url": receiver.url}}
        job_id = client.submit("a paper boat", **job)
        (artifact,) = client.result(job_id, timeout_s=60).raise_for_status().artifacts
    (request,) = receiver.wait_for(1, 30)
    assert verify(request.body, request.headers, secret=variables["IMAGEFLEET_WEBHOOK_SECRETS"]).data.id == job_id
    _end(up, signal.SIGINT)

    up = start_up()
    _wait_until_ready(up)

    assert _variables(up) == variables
    with Client(variables["IMAGEFLEET_REDIS_URL"]) as client:
        assert client.result(job_id, timeout_s=1).artifacts == (artifact,)
    image = httpx.get(str(artifact.url), trust_env=False).raise_for_status().content
    assert hashlib.sha256(image).hexdigest() == artifact.sha256
    _end(up, signal.SIGTERM)


def test_killed_worker_is_restarted_by_the_policy_of_all_workers(up: ChildProcess, tmp_path: Path) -> None:
    wait_until(lambda: not up.is_running or "imagefleet submit" in up.output(), 150)
    [worker] = [each for each in _family(up) if any("cpu0@" in word for word in each.cmdline())]

    worker.kill()

    wait_until(lambda: "cpu0 ended with -9: restarted in 1 s" in up.output(), 20)
    wait_until(lambda: _probe(tmp_path, "cpu0").is_good, 90)
    entries = {each.device: each for each in getattr(device_status.read(tmp_path / "data" / "health"), "devices", ())}
    assert entries["cpu0"].restarts == 1


def test_settings_that_cannot_be_used_end_it_before_anything_starts(tmp_path: Path) -> None:
    options = ["--data", str(tmp_path), *_ports()]
    command = [sys.executable, "-c", "from imagefleet.cli import main; main()", "up", *options]
    env = {**clean_environment(), "IMAGEFLEET_WORKER_DRAIN_S": "soon"}
    child = ChildProcess("up", command, log=tmp_path / "up.log", env=env)
    assert child.wait_or_kill(60) == 78
    assert "IMAGEFLEET_WORKER" in child.output()
    assert "Traceback" not in child.output()


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_signal_while_it_starts_leaves_no_process(up: ChildProcess, number: signal.Signals, exit_code: int) -> None:
    wait_until(lambda: len(_family(up)) >= 3, 60)
    family = _family(up)

    up.send(number)

    assert up.wait(90) == exit_code
    wait_until(lambda: not any(_runs(process) for process in family), 10)


def test_model_that_cannot_be_loaded_ends_it_with_the_workers_own_sentence(tmp_path: Path) -> None:
    """First, and without the rest of the log."""
    model = build("sd", tmp_path / "model")
    next((model / "unet").glob("*.safetensors")).unlink()
    options = ["--model", str(model), "--workers", "1", "--data", str(tmp_path / "data"), *_ports()]
    command = [sys.executable, "-c", "from imagefleet.cli import main; main()", "up", *options]
    child = ChildProcess(
        "up", command, log=tmp_path / "up.log", env={**clean_environment(), "CUDA_VISIBLE_DEVICES": ""}
    )
    try:
        wait_until(lambda: not child.is_running, 120)
    finally:
        child.stop(60)
    assert child.exit_code == 1
    (line,) = [line for line in child.output().splitlines() if line.startswith("imagefleet: ")]
    assert "cannot be loaded" in line
    assert "ended with 71" in line
    assert line == child.output().splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--model", "holds no model_index.json, so it is no diffusers model"),
        ("--data", "name a folder that this user may write to"),
        ("--redis-port", "another program listens there"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(
    option: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within this process: nothing is started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {"--model": "empty", "--data": "file/data", "--redis-port": str(taken.getsockname()[1])}
        with pytest.raises(SystemExit) as end:
            command.main([option, values[option]])
    assert end.value.code == 78
    assert sentence in capsys.readouterr().err
