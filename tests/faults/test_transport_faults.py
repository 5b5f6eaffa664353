"""What breaks under a worker, and what its messages see of it: real processes, real signals, a real server."""

import base64
import gzip
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from tests.faults.support.tiny_workers import LEASE_S, QUEUE, TinyWorkers, running_tiny_workers
from tests.support.servers.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

from imagefleet.store import dead_letters
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys

pytestmark = pytest.mark.timeout(90)
REDELIVERED_WITHIN_S = LEASE_S + 5


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[TinyWorkers]:
    with running_tiny_workers(tmp_path, append_only=True) as tiny:
        yield tiny


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
    "shadow a list": with_header("bad", shadow=["x"]),
    "redeliveries a word": with_header("bad", ignore_result=True, **{"x-redeliveries": "abc"}),
    "redeliveries a list": with_header("bad", ignore_result=True, **{"x-redeliveries": [1]}),
    "expires before all time": with_header("bad", expires="0001-01-01T00:00:00+23:59"),
    "headers nested 50 deep": with_header("bad", mine=json.loads("[" * 50 + "]" * 50)),
    "headers nested 500 deep": with_header("bad", mine=json.loads("[" * 500 + "]" * 500)),
    "a header named as a method": with_header("bad", get="x"),
    "embed of another key": envelope("bad", body=body([], {}, {"args": 7})),
    "a type that is none": envelope("bad", body=body([], {"a": {"__type__": "datetime", "__value__": "x"}}, {})),
}


def test_no_malformed_message_harms_the_worker_or_its_neighbours(tiny: TinyWorkers) -> None:
    """Each is a dead letter as it lay there; the messages between them have run."""
    worker = tiny.start()
    for number, bad in enumerate(BAD.values()):
        tiny.raw.lpush(QUEUE, bad if isinstance(bad, str | bytes) else json.dumps(bad))
        tiny.push(f"good{number}")

    for number in range(len(BAD)):
        tiny.wait_for("end", f"good{number}", timeout_s=30)
    wait_until(tiny.is_idle, 10)

    assert worker.is_running
    letters = [
        DeadLetter.model_validate_json(text) for text in tiny.raw.execute_command(*dead_letters.newest(Keys(), 99))
    ]
    assert all(letter.reason == "malformed" and letter.message for letter in letters)
    assert len(letters) == len(BAD)
    assert not tiny.journal("start", "bad")


#: Overflows when it is turned into UTC.
FIRST_ETA = "0001-01-01T00:00:00+23:59"
LENIENT: dict[str, Any] = {
    "no properties": {"properties": None},
    "no delivery info": {"properties": {"delivery_tag": "x"}},
    "no delivery tag": {"properties": {"delivery_info": {}}},
    "a tag that others have": {"properties": {"delivery_tag": "x"}},
    "base64": {"properties": {"body_encoding": "base64"}, "body": base64.b64encode(b"[[], {}, {}]").decode()},
    "no content type": {"content-type": None, "content-encoding": None},
    "embed null": {"body": body([], {}, None)},
    "no headers": {
        "headers": {},
        "body": json.dumps({"task": "tiny.work", "id": "no headers", "args": [], "kwargs": {}}),
    },
    "gzip": {
        "headers": {"task": "tiny.work", "id": "gzip", "compression": "gzip"},
        "properties": {"body_encoding": "base64"},
        "body": base64.b64encode(gzip.compress(b"[[], {}, {}]")).decode(),
    },
    "an eta before all time": {"headers": {"task": "tiny.work", "id": "an eta before all time", "eta": FIRST_ETA}},
}


def test_what_others_leave_out_is_filled_in(tiny: TinyWorkers) -> None:
    """Messages that stock Celery drops without a word run."""
    tiny.start()
    for name, changes in LENIENT.items():
        bare = {key: value for key, value in envelope(name, **changes).items() if value is not None}
        tiny.raw.lpush(QUEUE, json.dumps(bare))

    for name in LENIENT:
        tiny.wait_for("end", name)

    assert len(tiny.journal("start")) == len(LENIENT)


def test_any_celery_app_can_send_and_ask(tiny: TinyWorkers) -> None:
    """Its messages run in the order of their priority; `ping` and `active` answer while a task runs."""
    for number in (9, 3, 5):
        tiny.push(f"p{number}", priority=number)
    with Celery("stranger", broker=tiny.server.url, set_as_current=False) as stranger:
        stranger.send_task("tiny.work", kwargs={"seconds": 0.01}, queue=QUEUE, task_id="stranger")
        tiny.start(concurrency=1, options=())  # with mingle, whose replies the transport pops as kombu does
        tiny.wait_for("end", "p3")
        tiny.push("long", seconds=4)
        tiny.wait_for("start", "long")

        begun = time.monotonic()
        assert stranger.control.ping(timeout=0.9, limit=1)
        active = stranger.control.inspect(timeout=0.9, limit=1).active()

    assert time.monotonic() - begun < 2
    assert [task["id"] for tasks in active.values() for task in tasks] == ["long"]
    assert [line["name"] for line in tiny.journal("start")] == ["p9", "p5", "stranger", "p3", "long"]


def test_a_key_prefix_is_before_every_key(tmp_path: Path) -> None:
    """Claims, leases and dead letters too, so that the server can be shared."""
    with running_tiny_workers(tmp_path, keys=Keys("fx:")) as tiny:
        tiny.start()
        tiny.push("one", seconds=1)
        tiny.raw.lpush(f"fx:{QUEUE}", "bad")
        tiny.wait_for("end", "one")
        tiny.wait_for("malformed", "")

        assert all(key.startswith(("fx:", "_kombu")) for key in tiny.raw.scan_iter()), list(tiny.raw.scan_iter())


def test_kill_9_redelivers_within_a_lease_and_counts_it(tiny: TinyWorkers) -> None:
    victim = tiny.start("victim", concurrency=1)
    tiny.push("one", seconds=3)
    tiny.wait_for("start", "one")
    other = tiny.start("other", concurrency=1)

    victim.kill()
    killed_at = time.time()

    again = tiny.wait_for("start", "one", count=2)
    assert again["pid"] == other.pid
    assert again["redeliveries"] == 1
    assert again["at"] - killed_at < REDELIVERED_WITHIN_S
    tiny.wait_for("end", "one")
    wait_until(tiny.is_idle, 5)


def test_a_task_longer_than_its_lease_runs_once(tiny: TinyWorkers) -> None:
    """Three leases long, beside an idle worker that would take it."""
    tiny.start("a")
    tiny.start("b")
    tiny.push("long", seconds=3 * LEASE_S)

    tiny.wait_for("acknowledged", "long")
    wait_until(tiny.is_idle, 5)

    assert len(tiny.journal("start")) == 1


def test_cut_connections_start_nothing_again(tiny: TinyWorkers) -> None:
    """CLIENT KILL of every connection, three times, while a task runs and another worker waits; all goes on."""
    tiny.start("a")
    tiny.start("b")
    tiny.push("long", seconds=4)
    tiny.wait_for("start", "long")

    for _ in range(3):
        for kind in ("normal", "pubsub"):
            tiny.raw.client_kill_filter(_type=kind, skipme=True)
        tiny.push(f"after{_}", seconds=0.1)
        tiny.wait_for("end", f"after{_}")

    tiny.wait_for("acknowledged", "long")
    wait_until(tiny.is_idle, 5)
    assert len(tiny.journal("start")) == 4


def test_a_restart_of_redis_loses_and_doubles_nothing(tiny: TinyWorkers) -> None:
    """The running task runs on, what waits is served after, and both workers are of use again."""
    workers = [tiny.start("a", concurrency=1), tiny.start("b", concurrency=1)]
    for number in range(2):
        tiny.push(f"long{number}", seconds=4)
        tiny.wait_for("start", f"long{number}")
    tiny.push("waiting")

    tiny.server.kill()
    tiny.server.start()

    for name in ("long0", "long1", "waiting"):
        tiny.wait_for("acknowledged", name, timeout_s=25)
    for number in range(2):
        tiny.push(f"after{number}", seconds=1)
    for number in range(2):
        tiny.wait_for("end", f"after{number}", timeout_s=25)
    assert all(worker.is_running for worker in workers)
    assert len(tiny.journal("start")) == 5
    assert len({line["pid"] for line in tiny.journal("start") if line["name"].startswith("after")}) == 2
    wait_until(tiny.is_idle, 10)


def test_an_end_while_redis_is_away_is_told_later(tiny: TinyWorkers) -> None:
    """The task ends without Redis, and is not run again when it is back."""
    worker = tiny.start()
    tiny.push("one", seconds=1)
    tiny.wait_for("start", "one")

    tiny.server.kill()
    tiny.wait_for("end", "one")
    tiny.server.start()
    wait_until(tiny.is_idle, 25)

    assert worker.is_running
    assert len(tiny.journal("start")) == 1


def test_a_stopped_worker_loses_its_lease_and_changes_nothing_more(tiny: TinyWorkers) -> None:
    """SIGSTOP past the lease, SIGCONT: it learns of it, and the message is the other's."""
    sleeper = tiny.start("sleeper", concurrency=1)
    tiny.push("one", seconds=5)
    tiny.wait_for("start", "one")
    tiny.start("other", concurrency=1)

    sleeper.send(signal.SIGSTOP)
    tiny.wait_for("start", "one", count=2)
    sleeper.send(signal.SIGCONT)
    tiny.wait_for("lost", "")

    assert tiny.wait_for("not held", "one")["pid"] == sleeper.pid
    assert tiny.wait_for("acknowledged", "one")["pid"] != sleeper.pid
    assert len(tiny.journal("start")) == 2
    wait_until(tiny.is_idle, 5)


def test_a_postponed_message_outlives_its_worker(tiny: TinyWorkers) -> None:
    first = tiny.start("first")
    tiny.send("one", "tiny.later", {"due_in_s": 3, "seconds": 0})
    tiny.wait_for("postponed", "one")
    wait_until(lambda: tiny.raw.zcard(Keys().delayed), 5)
    first.kill()

    tiny.start("second")

    assert tiny.wait_for("end", "one")["at"] - tiny.journal("postponed")[0]["at"] > 2.9
    wait_until(tiny.is_idle, 5)


def test_connections_that_hang_are_left_for_new_ones(tmp_path: Path) -> None:
    """Half-open connections: the running task keeps its lease, and what comes is served."""
    with running_tiny_workers(tmp_path) as own:
        proxy = TcpProxy(own.server.port)
        try:
            (tmp_path / "proxied").mkdir()
            tiny = TinyWorkers(tmp_path / "proxied", own.server, port=proxy.port)
            tiny.start()
            tiny.push("long", seconds=6)
            tiny.wait_for("start", "long")

            assert proxy.black_hole()
            tiny.push("one")

            tiny.wait_for("end", "one", timeout_s=30)
            tiny.wait_for("acknowledged", "long", timeout_s=30)
            assert len(tiny.journal("start")) == 2
        finally:
            tiny.close()
            proxy.close()
