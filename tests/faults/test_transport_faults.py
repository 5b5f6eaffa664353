"""What breaks under a worker, and what its messages see of it: real processes, real signals, a real server."""

import base64
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from tests.faults.tiny_crew import LEASE_S, QUEUE, Crew, running_crew
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

from imagefleet import deadletters
from imagefleet.deadletters import DeadLetter
from imagefleet.queues import Keys

pytestmark = pytest.mark.timeout(90)
REDELIVERED_WITHIN_S = LEASE_S + 5


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    with running_crew(tmp_path, append_only=True) as crew:
        yield crew


def body(*parts: Any) -> str:
    return json.dumps(parts)


def envelope(name: str, **changes: Any) -> dict[str, Any]:
    """A minimal message that works, with *changes* at its top level."""
    good = {
        "body": body([], {}, {}),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "tiny.work", "id": name},
        "properties": {"delivery_tag": "x", "delivery_info": {"exchange": "", "routing_key": QUEUE}},
    }
    return {**good, **changes}


def with_header(name: str, **headers: Any) -> dict[str, Any]:
    return envelope(name, headers={"task": "tiny.work", "id": name, **headers})


DEEP = "[" * 100_000 + "]" * 100_000
#: Every one of these kills, wedges or silently loses something in a stock worker, or might.
BAD: dict[str, Any] = {
    "not JSON": "hello",
    "empty": "",
    "not UTF-8": b"\xff\xfe\x00",
    "no object": "[1, 2]",
    "nested too deep": DEEP,
    "no headers": envelope("bad", headers=None),
    "headers a list": envelope("bad", headers=["task"]),
    "no id": envelope("bad", headers={"task": "tiny.work"}),
    "id a number": envelope("bad", headers={"task": "tiny.work", "id": 7}),
    "id half a character": envelope("bad", headers={"task": "tiny.work", "id": "\ud800"}),
    "no task": envelope("bad", headers={"id": "bad"}),
    "unknown task": envelope("bad", headers={"task": "tiny.nothing", "id": "bad"}),
    "no body": envelope("bad", body=None),
    "body not JSON": envelope("bad", body="hello"),
    "body of two": envelope("bad", body=body([], {})),
    "body of wrong types": envelope("bad", body=body({}, [], {})),
    "body nested too deep": envelope("bad", body=DEEP),
    "body half a character": envelope("bad", body='[[], {"a": "\ud800"}, {}]'),
    "base64 that is none": envelope("bad", properties={"body_encoding": "base64"}, body="%%%"),
    "pickle": envelope("bad", **{"content-type": "application/x-python-serialize"}),
    "unknown encoding": envelope("bad", **{"content-encoding": "klingon"}),
    "unknown body encoding": envelope("bad", properties={"body_encoding": "rot13"}),
    "compressed, and not": with_header("bad", compression="application/x-gzip"),
    "bad eta": with_header("bad", eta="soon"),
    "bad expires": with_header("bad", expires="never"),
    "expires a list": with_header("bad", expires=[1]),
    "timelimit a word": with_header("bad", timelimit="long"),
    "retries a word": with_header("bad", retries="many"),
    "stamps a word": with_header("bad", stamped_headers="x", stamps="y"),
    "callbacks a word": envelope("bad", body=body([], {}, {"callbacks": "x"})),
}


def test_no_malformed_message_harms_the_worker_or_its_neighbours(crew: Crew) -> None:
    """Each is a dead letter as it lay there, or has run after all; the messages between them have run."""
    worker = crew.start()
    for number, bad in enumerate(BAD.values()):
        crew.raw.lpush(QUEUE, bad if isinstance(bad, str | bytes) else json.dumps(bad))
        crew.push(f"good{number}")

    for number in range(len(BAD)):
        crew.wait_for("end", f"good{number}", timeout_s=30)
    wait_until(crew.is_idle, 10)

    assert worker.is_running
    letters = [
        DeadLetter.model_validate_json(text) for text in crew.raw.execute_command(*deadletters.newest(Keys(), 99))
    ]
    assert all(letter.reason == "malformed" and letter.message for letter in letters)
    assert len(letters) + len(crew.journal("start", "bad")) == len(BAD)
    assert len(letters) >= len(BAD) - 3


LENIENT: dict[str, Any] = {
    "no properties": {"properties": None},
    "no delivery info": {"properties": {"delivery_tag": "x"}},
    "no delivery tag": {"properties": {"delivery_info": {}}},
    "a tag that others have": {"properties": {"delivery_tag": "x"}},
    "base64": {"properties": {"body_encoding": "base64"}, "body": base64.b64encode(b"[[], {}, {}]").decode()},
    "no content type": {"content-type": None, "content-encoding": None},
    "embed null": {"body": body([], {}, None)},
}


def test_what_others_leave_out_is_filled_in(crew: Crew) -> None:
    """Messages that stock Celery drops without a word run."""
    crew.start()
    for name, changes in LENIENT.items():
        bare = {key: value for key, value in envelope(name, **changes).items() if value is not None}
        crew.raw.lpush(QUEUE, json.dumps(bare))

    for name in LENIENT:
        crew.wait_for("end", name)

    assert len(crew.journal("start")) == len(LENIENT)


def test_any_celery_app_can_send_and_ask(crew: Crew) -> None:
    """Its messages run in the order of their priority; `ping` and `active` answer while a task runs."""
    for number in (9, 3, 5):
        crew.push(f"p{number}", priority=number)
    with Celery("stranger", broker=crew.server.url, set_as_current=False) as stranger:
        stranger.send_task("tiny.work", kwargs={"seconds": 0.01}, queue=QUEUE, task_id="stranger")
        crew.start(concurrency=1, options=())  # with mingle, whose replies the transport pops as kombu does
        crew.wait_for("end", "p3")
        crew.push("long", seconds=4)
        crew.wait_for("start", "long")

        begun = time.monotonic()
        assert stranger.control.ping(timeout=0.9, limit=1)
        active = stranger.control.inspect(timeout=0.9, limit=1).active()

    assert time.monotonic() - begun < 2
    assert [task["id"] for tasks in active.values() for task in tasks] == ["long"]
    assert [line["name"] for line in crew.journal("start")] == ["p9", "p5", "stranger", "p3", "long"]


def test_a_key_prefix_is_before_every_key(tmp_path: Path) -> None:
    """Claims, leases and dead letters too, so that the server can be shared."""
    with running_crew(tmp_path, keys=Keys("fx:")) as crew:
        crew.start()
        crew.push("one", seconds=1)
        crew.raw.lpush(f"fx:{QUEUE}", "bad")
        crew.wait_for("end", "one")
        crew.wait_for("malformed", "")

        assert all(key.startswith(("fx:", "_kombu")) for key in crew.raw.scan_iter()), list(crew.raw.scan_iter())


def test_kill_9_redelivers_within_a_lease_and_counts_it(crew: Crew) -> None:
    victim = crew.start("victim", concurrency=1)
    crew.push("one", seconds=3)
    crew.wait_for("start", "one")
    other = crew.start("other", concurrency=1)

    victim.kill()
    killed_at = time.time()

    again = crew.wait_for("start", "one", count=2)
    assert again["pid"] == other.pid
    assert again["redeliveries"] == 1
    assert again["at"] - killed_at < REDELIVERED_WITHIN_S
    crew.wait_for("end", "one")
    wait_until(crew.is_idle, 5)


def test_a_task_longer_than_its_lease_runs_once(crew: Crew) -> None:
    """Three leases long, beside an idle worker that would take it."""
    crew.start("a")
    crew.start("b")
    crew.push("long", seconds=3 * LEASE_S)

    crew.wait_for("acknowledged", "long")
    wait_until(crew.is_idle, 5)

    assert len(crew.journal("start")) == 1


def test_cut_connections_start_nothing_again(crew: Crew) -> None:
    """CLIENT KILL of every connection, three times, while a task runs and another worker waits; all goes on."""
    crew.start("a")
    crew.start("b")
    crew.push("long", seconds=4)
    crew.wait_for("start", "long")

    for _ in range(3):
        for kind in ("normal", "pubsub"):
            crew.raw.client_kill_filter(_type=kind, skipme=True)
        crew.push(f"after{_}", seconds=0.1)
        crew.wait_for("end", f"after{_}")

    crew.wait_for("acknowledged", "long")
    wait_until(crew.is_idle, 5)
    assert len(crew.journal("start")) == 4


def test_a_restart_of_redis_loses_and_doubles_nothing(crew: Crew) -> None:
    """The running task runs on, what waits is served after, and both workers are of use again."""
    workers = [crew.start("a", concurrency=1), crew.start("b", concurrency=1)]
    for number in range(2):
        crew.push(f"long{number}", seconds=4)
        crew.wait_for("start", f"long{number}")
    crew.push("waiting")

    crew.server.kill()
    crew.server.start()

    for name in ("long0", "long1", "waiting"):
        crew.wait_for("acknowledged", name, timeout_s=25)
    for number in range(2):
        crew.push(f"after{number}", seconds=1)
    for number in range(2):
        crew.wait_for("end", f"after{number}", timeout_s=25)
    assert all(worker.is_running for worker in workers)
    assert len(crew.journal("start")) == 5
    assert len({line["pid"] for line in crew.journal("start") if line["name"].startswith("after")}) == 2
    wait_until(crew.is_idle, 10)


def test_an_end_while_redis_is_away_is_told_later(crew: Crew) -> None:
    """The task ends without Redis, and is not run again when it is back."""
    worker = crew.start()
    crew.push("one", seconds=1)
    crew.wait_for("start", "one")

    crew.server.kill()
    crew.wait_for("end", "one")
    crew.server.start()
    wait_until(crew.is_idle, 25)

    assert worker.is_running
    assert len(crew.journal("start")) == 1


def test_a_stopped_worker_loses_its_lease_and_changes_nothing_more(crew: Crew) -> None:
    """SIGSTOP past the lease, SIGCONT: it learns of it, and the message is the other's."""
    sleeper = crew.start("sleeper", concurrency=1)
    crew.push("one", seconds=5)
    crew.wait_for("start", "one")
    crew.start("other", concurrency=1)

    sleeper.send(signal.SIGSTOP)
    crew.wait_for("start", "one", count=2)
    sleeper.send(signal.SIGCONT)
    crew.wait_for("lost", "")

    assert crew.wait_for("not held", "one")["pid"] == sleeper.pid
    assert crew.wait_for("acknowledged", "one")["pid"] != sleeper.pid
    assert len(crew.journal("start")) == 2
    wait_until(crew.is_idle, 5)


def test_a_postponed_message_outlives_its_worker(crew: Crew) -> None:
    first = crew.start("first")
    crew.send("one", "tiny.later", {"due_in_s": 3, "seconds": 0})
    crew.wait_for("postponed", "one")
    wait_until(lambda: crew.raw.zcard(Keys().delayed), 5)
    first.kill()

    crew.start("second")

    assert crew.wait_for("end", "one")["at"] - crew.journal("postponed")[0]["at"] > 2.9
    wait_until(crew.is_idle, 5)


def test_connections_that_hang_are_left_for_new_ones(tmp_path: Path) -> None:
    """Half-open connections: the running task keeps its lease, and what comes is served."""
    with running_crew(tmp_path) as own:
        proxy = TcpProxy(own.server.port)
        try:
            (tmp_path / "proxied").mkdir()
            crew = Crew(tmp_path / "proxied", own.server, port=proxy.port)
            crew.start()
            crew.push("long", seconds=6)
            crew.wait_for("start", "long")

            assert proxy.black_hole()
            crew.push("one")

            crew.wait_for("end", "one", timeout_s=30)
            crew.wait_for("acknowledged", "long", timeout_s=30)
            assert len(crew.journal("start")) == 2
        finally:
            crew.close()
            proxy.close()
