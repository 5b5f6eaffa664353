"""`imagefleet top`, `queues`, `workers` and `watch`, with and without a terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from tests.support import command_line
from tests.support.fleet.fake_worker import FakeWorker
from tests.support.needs import missing
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until

from imagefleet import Client, RunningJob, Worker, WorkerState
from imagefleet.store import worker_registry
from imagefleet.store.keys import Keys

Run = Callable[..., subprocess.CompletedProcess[str]]
CLI = Path(sys.executable).parent / "imagefleet"
NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture
def run(redis_url: str) -> Run:
    def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return command_line.run(*args, env={"IMAGEFLEET_REDIS_URL": redis_url, **(env or {})})

    return run


class Terminal:
    """A command on a terminal of its own, 80 columns wide."""

    def __init__(self, *args: str, url: str) -> None:
        self._main, side = pty.openpty()
        env = {**os.environ, "IMAGEFLEET_REDIS_URL": url, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            [CLI, *args], env=env, stdin=side, stdout=side, stderr=side, start_new_session=True
        )
        os.close(side)
        self._seen = ""

    def text(self) -> str:
        """All that was drawn so far, without colors and movements."""
        while select.select([self._main], [], [], 0)[0]:
            try:
                self._seen += os.read(self._main, 65_536).decode(errors="replace")
            except OSError:  # its other end is closed
                break
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._seen)

    def wait_for(self, text: str, timeout_s: float = 20) -> None:
        """Wait until *text* has been drawn."""
        wait_until(lambda: text in self.text(), timeout_s)

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        """Return the exit code."""
        wait_until(lambda: (self.text(), self.process.poll() is not None)[1], 20)
        return self.process.wait(5)

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)
        os.close(self._main)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Opens terminals."""
    opened: list[Terminal] = []

    def open_one(*args: str, url: str) -> Terminal:
        opened.append(Terminal(*args, url=url))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def sign(url: str, *, name: str = "gpu0@host", jobs: tuple[RunningJob, ...] = ()) -> None:
    """Sign a worker in by hand, with claims on its jobs."""
    worker = Worker(
        id="w1",
        name=name,
        host="host",
        pid=1,
        state=WorkerState.BUSY,
        queues=("imagefleet.default",),
        model="default",
        jobs=jobs,
        started_at=datetime.now(UTC),
    )
    with redis.Redis.from_url(url) as raw:
        raw.execute_command(*worker_registry.register(Keys(), worker, ttl_s=60))
        for job in jobs:
            raw.hset(Keys().origins, f"claim of {job.id}", "imagefleet.default")


@pytest.mark.parametrize("command", [["top"], ["top", "--once", "--json"], ["queues"], ["workers"], ["watch", "a-job"]])
def test_redis_away_is_exit_3_and_a_sentence(run: Run, command: list[str]) -> None:
    done = run("--redis-url", NOBODY, *command)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Redis at 127.0.0.1:9/0 cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_has_everything_for_scripts(run: Run, redis_url: str) -> None:
    sign(redis_url, jobs=(RunningJob(id="j1", done=3, total=20),))
    with Client(redis_url) as client:
        client.submit_many(["a", "b"])
    seen = json.loads(run("top", "--json").stdout)
    assert seen["workers"][0]["jobs"] == [{"id": "j1", "done": 3, "total": 20}]
    assert (seen["queues"][0]["waiting"], seen["queues"][0]["running"], seen["dead_letters"]) == (2, 1, 0)
    assert json.loads(run("queues", "--json").stdout) | {"oldest_s": None} == seen["queues"][0] | {"oldest_s": None}
    assert json.loads(run("workers", "--json").stdout)["name"] == "gpu0@host"


def test_without_a_terminal_one_plain_picture_is_printed(run: Run, redis_url: str) -> None:
    sign(redis_url, jobs=(RunningJob(id="j1", done=3, total=20),))
    done = run("top")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert ["j1", "3/20", "gpu0@host"] in [line.split() for line in done.stdout.splitlines()]
    assert "gpu0@host" in run("workers").stdout
    assert "imagefleet.default" in run("queues").stdout


def test_an_empty_fleet_is_no_error(run: Run) -> None:
    for command in ("top", "queues", "workers"):
        assert run(command).returncode == 0


def test_top_refreshes_outlives_redis_and_ends_with_ctrl_c(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server:
        top = terminal("top", "--every", "0.2", url=server.url)
        top.wait_for("0 workers")
        sign(server.url)
        top.wait_for("gpu0@host")
        server.stop()
        top.wait_for("cannot be used")
        server.start()
        sign(server.url, name="gpu1@host")
        top.wait_for("gpu1@host")
        assert top.interrupt() == 0
    assert "Traceback" not in top.text()


def test_top_once_leaves_the_picture_on_the_terminal(terminal: Callable[..., Terminal], redis_url: str) -> None:
    sign(redis_url, jobs=(RunningJob(id="j1", done=3, total=20),))
    top = terminal("top", "--once", url=redis_url)
    assert top.wait() == 0
    assert "━" in top.text()
    assert "3/20" in top.text()


def test_watch_draws_bars_until_the_jobs_have_ended(terminal: Callable[..., Terminal], redis_url: str) -> None:
    with Client(redis_url) as client, FakeWorker(redis_url) as fake:
        ids = [client.submit("a"), client.submit("fail b")]
        watch = terminal("watch", *ids, url=redis_url)
        code = watch.wait()
        del fake
    assert code == 1
    assert "2/2" in watch.text()
    assert "succeeded" in watch.text()
    assert "failed: It was asked to." in watch.text()
    assert ids[0] in watch.text()


def test_watch_says_each_change_in_a_line_without_a_terminal(redis_url: str) -> None:
    with Client(redis_url) as client:
        job_id = client.submit("a", steps=100)
        env = {**os.environ, "IMAGEFLEET_REDIS_URL": redis_url}
        with subprocess.Popen([CLI, "watch", job_id], env=env, stdout=subprocess.PIPE, text=True) as watch:
            assert watch.stdout
            lines = [watch.stdout.readline()]  # told at once, not when the process ends
            with FakeWorker(redis_url):
                lines += watch.stdout.readlines()
    assert watch.returncode == 0
    why = "no worker serves default; none has served any model yet; start one"
    said = (f"queued, number 1 in the queue: {why}", "running", "succeeded")
    assert lines == [f"{job_id} {each}\n" for each in said]


def test_watch_as_json_tells_every_step_it_hears_of(run: Run, redis_url: str) -> None:
    with Client(redis_url) as client, FakeWorker(redis_url):
        job_id = client.submit("a", steps=200)
        done = run("watch", "--json", job_id)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert events[-1]["result"]["status"] == "succeeded"
    assert {event["id"] for event in events} == {job_id}


def test_ctrl_c_ends_the_watch_and_not_the_job(terminal: Callable[..., Terminal], redis_url: str) -> None:
    with Client(redis_url) as client:
        job_id = client.submit("a")
        fake = FakeWorker(redis_url)
        fake.start(job_id)
        watch = terminal("watch", job_id, url=redis_url)
        watch.wait_for("running")
        assert watch.interrupt() == 130
        assert "The jobs go on" in watch.text()
        assert client.status(job_id) == "running"


def test_a_job_id_is_whole_on_a_terminal_of_80_columns(terminal: Callable[..., Terminal], redis_url: str) -> None:
    with Client(redis_url) as client:
        job_id = client.submit("a")
    status = terminal("status", job_id, url=redis_url)
    assert status.wait() == 0
    assert job_id in status.text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_works_in_each_shell(shell: str, tmp_path: Path) -> None:
    """The script that `--show-completion` prints, asked by the shell itself what may follow."""
    env = {**os.environ, "PATH": f"{CLI.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    script = {
        "bash": 'eval "$(imagefleet --show-completion)"; COMP_WORDS=(imagefleet wo); COMP_CWORD=1; '
        '_imagefleet_completion imagefleet; echo "${COMPREPLY[@]}"',
        "zsh": 'compdef() { :; }; _arguments() { echo "$@"; }; _describe() { eval echo "\\${(@)$2}"; }; '
        'words=(imagefleet wo); CURRENT=2; eval "$(imagefleet --show-completion)"; _imagefleet_completion',
        "fish": "imagefleet --show-completion | source; complete -C 'imagefleet wo'",
    }
    try:
        done = subprocess.run(
            [shell, "-c", script[shell]], env=env, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        missing(f"no {shell}")
    assert "workers" in done.stdout, done.stderr
