"""Celery's command line: each option does what it says, or is refused before anything is loaded."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import InvalidTaskError, TaskRevokedError
from tests.support.celery_table import CONTROL, GLOBAL_OPTIONS, INSPECT, OPTIONS, PROGRAMS, Command, Line
from tests.support.fleet.processes import clean_environment, running_worker
from tests.support.servers.redis import RedisServer
from tests.support.waiting import wait_until

from imagefleet import Client, JobFailed
from imagefleet.store.keys import Keys

ROOT = Path(__file__).parents[3]
NAME = "hooks"
#: Every option of `celery worker` that works, but for those that exclude others.
TYPED = [word for option in OPTIONS.values() if option.does and option.is_daemons for word in option.typed]
#: Every program of `celery` and every option before a program, but for those that other tests type.
LINES: dict[str, Line] = {name: line for name, line in {**PROGRAMS, **GLOBAL_OPTIONS}.items() if line.typed}
REFUSED = [option.typed for option in OPTIONS.values() if not option.does]


def celery(env: dict[str, str], *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """What `celery` prints with *arguments*."""
    command = [sys.executable, "-m", "celery", "-A", "imagefleet_worker.app", *arguments]
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def environment(server: RedisServer) -> dict[str, str]:
    """The variables of a process that only needs Redis."""
    return {**clean_environment(), "IMAGEFLEET_REDIS_URL": server.url, "PYTHONPATH": str(ROOT)}


class Daemon:
    """A worker that `celery multi` started and that has no terminal."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.folder, self.server, self.env = folder, server, environment(server)
        self.app = Celery("foreign", broker=server.url, backend=server.url, set_as_current=False)
        self.control = self.app.control
        #: The id of a message that waited before the start.
        self.purged = ""

    def multi(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run `celery multi`."""
        return celery(self.env, "multi", command, NAME, *TYPED, cwd=self.folder)

    @property
    def name(self) -> str:
        """Its name for remote control."""
        (name,) = self.control.inspect(timeout=2).ping() or {}
        return str(name)

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        file = self.folder / f"{NAME}.pid"
        return int(file.read_text()) if file.exists() else None

    def log(self) -> str:
        """Its log file."""
        file = self.folder / f"{NAME}.log"
        return file.read_text() if file.exists() else ""

    def ask(self, command: str, **arguments: Any) -> Any:
        """Its reply to a command of `control` or `inspect`."""
        (reply,) = self.control.broadcast(command, arguments=arguments, reply=True, timeout=5, limit=1)
        return next(iter(reply.values()))

    def queues(self) -> dict[str, int]:
        """The workers of each queue, as `imagefleet queues` shows them."""
        with Client(self.server.url) as client:
            return {queue.name: queue.workers for queue in client.queues() if queue.workers}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for this file alone."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> Iterator[Daemon]:
    """A worker with every option; the last test ends it."""
    daemon = Daemon(tmp_path_factory.mktemp("daemon"), server)
    daemon.purged = str(daemon.app.send_task("own.add", [1, 1], queue="own").id)
    started = daemon.multi("start")
    assert started.returncode == 0, started.stdout
    try:
        wait_until(lambda: f"{NAME}@" in daemon.log() and " ready." in daemon.log(), 30)
        yield daemon
    finally:
        if daemon.pid:
            os.kill(daemon.pid, signal.SIGKILL)
        daemon.app.close()


def test_options_of_celery_win_over_settings(daemon: Daemon) -> None:
    """A daemon's log file holds its lines, at the level that was typed; the setting says INFO."""
    wait_until(lambda: "[debug    ] tick " in daemon.log(), 20)  # own.tick, sent by -B, taken from -Q, known by -I
    assert (daemon.folder / "beat.dat").exists() or (daemon.folder / "beat").exists()
    stats = daemon.ask("stats")
    assert (stats["pid"], stats["pool"]["max-concurrency"], stats["prefetch_count"]) == (daemon.pid, 3, 6)
    assert daemon.ask("active_queues")[1]["name"] == "own"
    assert "events" not in daemon.ask("enable_events")["ok"].replace("task events already enabled", "")


def test_a_worker_purges_its_queues_before_it_starts(daemon: Daemon) -> None:
    with pytest.raises(TaskRevokedError, match="purged"):
        daemon.app.AsyncResult(daemon.purged).get(timeout=10)


@pytest.fixture(scope="module")
def shown(daemon: Daemon) -> dict[str, str]:
    """What each line of `celery` shows; all are typed in one process."""
    (daemon.folder / "tasks.log").write_text("[2031-01-01 00:00:00,000: INFO/MainProcess] Task own.add[1] received\n")
    (daemon.folder / "old_settings.py").write_text("CELERY_TASK_SERIALIZER = 'json'\n")
    result = daemon.app.send_task("own.add", [20, 22], queue="own")
    result.get(timeout=10)
    places = {"url": daemon.server.url, "folder": daemon.folder, "result": result.id}
    lines = {name: ([word.format(**places) for word in line.typed], line.shows) for name, line in LINES.items()}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.typed_commands"],
        input=json.dumps([*lines.values()]),
        env=daemon.env,
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    return dict(zip(lines, json.loads(ended.stdout), strict=True))


@pytest.mark.parametrize("name", LINES)
def test_every_line_shows_what_the_table_says(shown: dict[str, str], name: str) -> None:
    assert LINES[name].shows in shown[name]
    assert "Error(" not in shown[name]


def test_settings_of_the_app_win_over_a_configuration_of_celery(server: RedisServer) -> None:
    """In a process of its own, because these options are for the import of the app."""
    backend = f"{server.url.removesuffix('/0')}/7"
    options = ("--loader", "default", "--config", "tests.support.celery_settings", "--result-backend", backend)
    shown = celery({**environment(server), "COLUMNS": "200"}, *options, "report").stdout
    for part in ("celery.loaders.default.Loader", "event_queue_ttl: 77", "task_acks_late: True", f"results:{backend}"):
        assert part in shown


@pytest.fixture
def held(daemon: Daemon) -> Iterator[Any]:
    """A task that runs until this test ends."""
    file = daemon.folder / "release"
    file.unlink(missing_ok=True)
    result = daemon.app.send_task("own.hold", [file.name], queue="own")
    wait_until(lambda: result.id in [task["id"] for task in daemon.ask("active")], 10)
    yield result
    file.touch()
    assert result.get(timeout=10) is True


@pytest.mark.parametrize("name", [*INSPECT, *(name for name in CONTROL if name != "shutdown")])
def test_every_command_answers_as_the_table_says(daemon: Daemon, held: Any, name: str) -> None:
    command: Command = {**INSPECT, **CONTROL}[name]
    assert command.reply in str(daemon.ask(name, **command.arguments))


def test_the_pool_grows_and_shrinks(daemon: Daemon) -> None:
    """As many tasks run at once as the reply says."""
    assert daemon.ask("pool_grow", n=2) == {"ok": "the pool has 5 threads"}
    holds = [daemon.app.send_task("own.hold", ["grown"], queue="own") for _ in range(5)]
    wait_until(lambda: len(daemon.ask("active")) == 5, 10)
    (daemon.folder / "grown").touch()
    assert all(hold.get(timeout=10) for hold in holds)

    assert daemon.ask("pool_shrink", n=4) == {"ok": "the pool has 1 threads"}
    assert daemon.ask("stats")["prefetch_count"] == 2
    assert "one must stay" in daemon.ask("pool_shrink")["error"]
    assert daemon.ask("pool_grow", n=2) == {"ok": "the pool has 3 threads"}


def test_a_new_rate_is_that_of_messages_that_wait_too(daemon: Daemon) -> None:
    """They wait under leases, and run as soon as there is no limit any more."""
    assert "ok" in daemon.ask("rate_limit", task_name="own.add", rate_limit="1/h")
    sums = [daemon.app.send_task("own.add", [n, n], queue="own") for n in range(4)]
    assert sums[0].get(timeout=10) == 0
    assert not sums[1].ready()

    assert "ok" in daemon.ask("rate_limit", task_name="own.add", rate_limit="0")

    assert [each.get(timeout=10) for each in sums] == [0, 2, 4, 6]
    assert daemon.ask("rate_limit", task_name="nobody", rate_limit="1/s") == {"error": "unknown task"}


def test_a_worker_consumes_what_it_is_told_to_if_it_can(daemon: Daemon) -> None:
    """`imagefleet queues` follows; a sender of webhooks takes no job of any model."""
    assert daemon.queues() == {"imagefleet.webhooks": 1, "own": 1}
    assert "ok" in daemon.ask("cancel_consumer", queue="imagefleet.webhooks")
    wait_until(lambda: daemon.queues() == {"own": 1}, 10)
    assert "ok" in daemon.ask("add_consumer", queue="imagefleet.webhooks")
    wait_until(lambda: daemon.queues() == {"imagefleet.webhooks": 1, "own": 1}, 10)

    assert "loaded no model" in daemon.ask("add_consumer", queue="imagefleet.default")["error"]
    assert "IMAGEFLEET_MODEL_ALIAS=zz" in daemon.ask("add_consumer", queue="imagefleet.zz")["error"]
    assert [queue["name"] for queue in daemon.ask("active_queues")] == ["own", "imagefleet.webhooks"]


def test_a_job_that_reaches_a_sender_of_webhooks_is_a_dead_letter(daemon: Daemon) -> None:
    """And who sent it hears of it."""
    job = daemon.app.send_task("imagefleet.generate", kwargs={"job": {"prompt": "x"}}, queue="imagefleet.webhooks")
    with pytest.raises(JobFailed, match="this queue takes deliveries"):
        job.get(timeout=10)
    with redis.Redis.from_url(daemon.server.url) as raw:
        (letter,) = raw.hvals(Keys().dead)
    assert job.id in str(letter)


def test_a_time_limit_that_no_thread_can_keep_is_refused(daemon: Daemon) -> None:
    """Celery would ignore it without a word."""
    for limits in ({"time_limit": 60}, {"soft_time_limit": 60}):
        with pytest.raises(InvalidTaskError, match="time limit: no thread can be ended"):
            daemon.app.send_task("own.add", [1, 2], queue="own", **limits).get(timeout=10)
    assert daemon.ask("time_limit", task_name="nobody", hard=3) == {"error": "unknown task"}


def test_a_task_that_runs_in_a_thread_is_not_said_to_be_terminated(daemon: Daemon, held: Any) -> None:
    assert "cannot be ended" in daemon.ask("revoke", task_id=held.id, terminate=True)["error"]


def test_shutdown_replies_and_drains(daemon: Daemon) -> None:
    """The last test: it ends the worker, after the task that runs."""
    held = daemon.app.send_task("own.hold", ["end"], queue="own")
    wait_until(lambda: held.id in [task["id"] for task in daemon.ask("active")], 10)

    ended = celery(daemon.env, "control", "shutdown", "--json")

    assert ended.returncode == 0, ended.stderr
    (reply,) = json.loads(ended.stdout)
    assert next(iter(reply.values())) == {"ok": "draining"}
    wait_until(lambda: "draining" in daemon.log(), 10)
    (daemon.folder / "end").touch()
    assert held.get(timeout=10) is True
    wait_until(lambda: daemon.pid is None, 20)
    assert any(daemon.folder.glob("state*"))


def test_a_daemon_that_is_refused_says_so_in_its_log_file(server: RedisServer, tmp_path: Path) -> None:
    started = celery(environment(server), "worker", "-D", "-Q", "imagefleet.zz", "-f", "d.log", cwd=tmp_path)
    assert started.returncode == 0
    wait_until(lambda: "-Q imagefleet.default" in (tmp_path / "d.log").read_text(), 20)


def test_options_that_a_worker_cannot_honor_end_it(server: RedisServer) -> None:
    """With 78 and a sentence for each, before anything is loaded."""
    typed = [word for option in (*REFUSED, ("-P", "prefork"), ("-X", "imagefleet.default")) for word in option]
    ended = celery(environment(server), "-b", "redis://elsewhere", "worker", *typed)
    assert ended.returncode == 78, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("imagefleet: ")]
    for option in REFUSED:
        assert f"{option[0]}: " in line
    for start in ("-P prefork: ", "-X leaves no queue", "-b redis://elsewhere: "):
        assert start in line


def test_a_queue_that_a_worker_cannot_serve_ends_it(server: RedisServer) -> None:
    ended = celery(environment(server), "worker", "-P", "solo", "-Q", "imagefleet.zz")
    assert ended.returncode == 78, ended.stderr
    assert "type -Q imagefleet.default, or set IMAGEFLEET_MODEL_ALIAS=zz" in ended.stderr


def test_a_pool_of_one_holds_one_message(server: RedisServer, tmp_path: Path) -> None:
    """However many `-c` allows: another worker can run the rest."""
    env = environment(server)
    options = ("-P", "solo", "-c", "8", "-Q", "own,imagefleet.webhooks,other", "-I", "tests.support.celery_tasks")
    options += ("-X", "other", "--disable-prefetch", "--without-heartbeat")
    app = Celery("foreign", broker=server.url, backend=server.url, set_as_current=False)
    with running_worker(env, tmp_path, name="solo", options=options):
        sums = [app.send_task("own.add", [n, 1], queue="own") for n in range(3)]
        assert [each.get(timeout=10) for each in sums] == [1, 2, 3]
        (stats,) = (app.control.inspect(timeout=5, limit=1).stats() or {}).values()
        assert (stats["prefetch_count"], stats["pool"]["max-concurrency"]) == (1, 1)
        (queues,) = (app.control.inspect(timeout=5, limit=1).active_queues() or {}).values()
        assert {queue["name"] for queue in queues} == {"own", "imagefleet.webhooks"}
        (reply,) = app.control.pool_grow(1, reply=True, timeout=5, limit=1)
        assert "without -P solo" in str(reply)
    app.close()
