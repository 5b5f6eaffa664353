"""Messages that are not run: whoever sent them hears of it, and the worker takes the next one."""

import base64
import gzip
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery, signature
from celery.exceptions import NotRegistered
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.waiting import wait_until

from imagefleet import JobStatus
from imagefleet.store import dead_letters
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.supervision.child_process import ChildProcess

QUEUE = "imagefleet.default"
JOB: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2}
BROKEN = ("-I", "tests.faults.support.broken_tasks")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("messages")) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def worker(fleet: Fleet) -> ChildProcess:
    """One image worker with tasks that are broken; its lease is 2 s."""
    child = fleet.start("gpu", options=BROKEN)
    wait_until_ready(child)
    return child


@pytest.fixture
def app(fleet: Fleet) -> Iterator[Celery]:
    """A Celery app that has never heard of this package."""
    with Celery("stranger", broker=fleet.redis.url, backend=fleet.redis.url, set_as_current=False) as app:
        yield app


@pytest.fixture
def raw(fleet: Fleet) -> Iterator["redis.Redis"]:
    with fleet.raw() as raw:
        yield raw


def push(raw: "redis.Redis", *, headers: dict[str, Any], kwargs: Any = None, **changes: Any) -> str:
    """Push a job with *headers* and other *changes*, which names a `link_error`; gives its id."""
    job_id = str(uuid.uuid4())
    errback = {"task": "stranger.failed", "args": [], "kwargs": {}, "options": {"queue": f"errors-{job_id}"}}
    envelope = {
        "body": json.dumps([[], {"job": JOB} if kwargs is None else kwargs, {"errbacks": [errback]}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "imagefleet.generate", "id": job_id, **headers},
        "properties": {},
        **changes,
    }
    raw.lpush(QUEUE, json.dumps(envelope))
    return job_id


def letter_of(raw: "redis.Redis", job_id: str) -> DeadLetter:
    found = raw.execute_command(*dead_letters.newest(Keys(), 99))
    (letter,) = [each for each in map(DeadLetter.model_validate_json, found) if each.job_id == job_id]
    return letter


BAD_HEADERS: dict[str, dict[str, Any]] = {
    "shadow a list": {"shadow": ["x"]},
    "shadow an object": {"shadow": {}},
    "redeliveries a word": {"x-redeliveries": "abc"},
    "eta before all time, as a number": {"eta": -1},
    "a name of Celery's": {"get": "x"},
}


@pytest.mark.parametrize("headers", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_refused_message_answers_its_sender(
    worker: ChildProcess, app: Celery, raw: "redis.Redis", headers: dict[str, Any]
) -> None:
    """`get` raises the reason, `link_error` is called, the record says it too, and the dead letter has the message."""
    job_id = push(raw, headers=headers)

    with pytest.raises(Exception, match=f"invalid_job: headers: .*{next(iter(headers))}"):
        app.AsyncResult(job_id).get(timeout=20)

    assert wait_until(lambda: raw.rpop(f"errors-{job_id}"), 10)
    assert letter_of(raw, job_id).reason == "malformed"
    assert raw.hget(Keys().job(job_id), "status") == "failed"
    assert worker.is_running


def test_a_message_whose_sender_wants_no_result_gets_none(
    worker: ChildProcess, app: Celery, raw: "redis.Redis"
) -> None:
    """But its errors are heard of: they are callbacks, not results."""
    job_id = push(raw, headers={"ignore_result": True, "shadow": ["x"]})

    assert wait_until(lambda: raw.rpop(f"errors-{job_id}"), 20)

    assert letter_of(raw, job_id)
    assert app.AsyncResult(job_id).state == "PENDING"


def test_an_unknown_task_fails_as_it_does_in_stock_celery(
    worker: ChildProcess, app: Celery, raw: "redis.Redis"
) -> None:
    link_error = signature("stranger.failed", queue="unknown-errors", app=app)
    sent = app.send_task("no.such.task", queue=QUEUE, link_error=link_error)

    with pytest.raises(NotRegistered, match=r"no\.such\.task"):
        sent.get(timeout=20)
    assert wait_until(lambda: raw.rpop("unknown-errors"), 10)


def test_a_pickled_message_is_refused_with_an_answer(worker: ChildProcess, app: Celery) -> None:
    sent = app.send_task("imagefleet.generate", kwargs={"job": JOB}, queue=QUEUE, serializer="pickle")

    with pytest.raises(Exception, match="content type 'application/x-python-serialize' is not read"):
        sent.get(timeout=20)


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma"])
def test_a_compressed_message_is_a_job(worker: ChildProcess, app: Celery, compression: str) -> None:
    sent = app.send_task("imagefleet.generate", kwargs={"job": JOB}, queue=QUEUE, compression=compression)

    assert sent.get(timeout=60)["status"] == "succeeded"


def test_a_bomb_is_refused_with_an_answer(worker: ChildProcess, app: Celery, raw: "redis.Redis") -> None:
    """A few kB that stand for 100 MB."""
    bomb = base64.b64encode(gzip.compress(b" " * 100_000_000)).decode()
    job_id = push(raw, headers={"compression": "gzip"}, body=bomb, properties={"body_encoding": "base64"})

    with pytest.raises(Exception, match="larger than"):
        app.AsyncResult(job_id).get(timeout=20)


def test_a_message_of_protocol_1_is_a_job(worker: ChildProcess, app: Celery, raw: "redis.Redis") -> None:
    """Also with a countdown, which lies in the body there."""
    app.conf.task_protocol = 1
    now = app.send_task("imagefleet.generate", kwargs={"job": JOB}, queue=QUEUE)
    later = app.send_task("imagefleet.generate", kwargs={"job": JOB}, queue=QUEUE, countdown=3600)

    assert now.get(timeout=60)["status"] == "succeeded"
    wait_until(lambda: raw.zcard(Keys().delayed) == 1, 10)
    assert raw.hget(Keys().job(later.id), "status") == "queued"
    raw.delete(Keys().delayed)


def test_a_message_that_celery_loses_is_found_within_two_leases(
    worker: ChildProcess, app: Celery, raw: "redis.Redis"
) -> None:
    """It is raised in a thread that nobody looks at; the slots of 16 of them come back, too."""
    lost = [app.send_task("broken.lost", queue=QUEUE) for _ in range(16)]
    for each in lost:
        with pytest.raises(Exception, match="did not run it"):
            each.get(timeout=30)

    assert {letter_of(raw, each.id).reason for each in lost} == {"internal_error"}
    assert app.send_task("other.task", queue=QUEUE).get(timeout=20) == "done"
    assert raw.zcard(Keys().leases) == 0


@pytest.mark.parametrize(
    ("kwargs", "headers", "reason"),
    [
        ({"delivery": 7}, {}, "malformed"),
        ({"something": "else"}, {}, "malformed"),
        ({"delivery": {}}, {"expires": "2000-01-01T00:00:00Z"}, "expired"),
    ],
)
def test_a_delivery_that_cannot_be_made_is_a_dead_letter(
    worker: ChildProcess, raw: "redis.Redis", kwargs: dict[str, Any], headers: dict[str, Any], reason: str
) -> None:
    """Nobody waits for its result, so nobody would know."""
    event_id = push(raw, headers={"task": "imagefleet.deliver", **headers}, kwargs=kwargs)

    wait_until(lambda: any(event_id in each for each in raw.hvals(Keys().dead)), 20)

    assert letter_of(raw, event_id).reason == reason


def test_a_worker_that_cannot_run_good_messages_gives_them_back_and_leaves(fleet: Fleet, app: Celery) -> None:
    """No message is blamed for it: another worker may run it. With `--purge` it begins with an empty queue."""
    with fleet.client() as client:
        purged = [client.submit(JOB, model="broken", priority=priority, tenant="acme") for priority in (0, 5, 9)]
        broken = fleet.start("broken", options=(*BROKEN, "--purge"), env={"IMAGEFLEET_MODEL_ALIAS": "broken"})
        wait_until_ready(broken)
        assert {client.status(job_id) for job_id in purged} == {JobStatus.CANCELED}
    sent = app.send_task("broken.worker", queue="imagefleet.broken")

    code = broken.wait(30)

    assert code == ExitCode.INTERNAL_ERROR
    assert "could not run 3 messages in a row" in broken.output()
    with fleet.raw() as raw:
        (text,) = raw.lrange("imagefleet.broken", 0, -1)
        assert json.loads(text)["headers"]["id"] == sent.id
        assert not [each for each in raw.hvals(Keys().dead) if sent.id in each]
