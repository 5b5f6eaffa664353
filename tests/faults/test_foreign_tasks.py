"""What must not be lost in a worker that also runs tasks, or consumes queues, that it was not made for."""

import json
import platform
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from tests.faults.support.pair import JOB, KEYS
from tests.support.fleet.fleet import SENDER, Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.waiting import wait_until

from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.store.dead_letters import DeadLetter

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet with one sender of webhooks, which has no model and runs foreign tasks, too."""
    with running_fleet(tmp_path_factory.mktemp("foreign")) as fleet:
        wait_until_ready(fleet.start("sender", options=(*SENDER, "-I", "tests.support.foreign_tasks")))
        yield fleet


@pytest.fixture
def raw(fleet: Fleet) -> Iterator[Any]:
    with fleet.raw() as raw:
        yield raw
        raw.delete("foreign:reject", "foreign:get", KEYS.dead, KEYS.dead_index)


@pytest.fixture
def app(fleet: Fleet) -> Iterator[Celery]:
    with Celery("foreign", broker=fleet.redis.url, backend=fleet.redis.url, set_as_current=False) as app:
        yield app


def send(app: Celery, task: str, **kwargs: Any) -> None:
    app.send_task(task, kwargs=kwargs, queue=WEBHOOK_QUEUE)


def is_idle(raw: Any) -> bool:
    return not (raw.exists(WEBHOOK_QUEUE) or raw.hlen(KEYS.claims))


@pytest.mark.parametrize(("requeue", "runs"), [(True, 2), (False, 1)])
def test_a_rejected_message_is_queued_again_if_its_task_says_so(
    app: Celery, raw: Any, *, requeue: bool, runs: int
) -> None:
    send(app, "foreign.reject", requeue=requeue)

    wait_until(lambda: raw.llen("foreign:reject") == runs and is_idle(raw), 20)


@pytest.mark.parametrize(("end", "left"), [("ack", []), ("requeue", ["mine"]), ("reject", []), ("", ["mine"])], ids=str)
def test_a_message_that_a_task_gets_is_claimed_until_the_task_ends_it(
    fleet: Fleet, app: Celery, raw: Any, end: str, left: list[str]
) -> None:
    """And if it is never ended, it is some worker's again when this one has gone."""
    with app.connection_for_write() as connection, connection.SimpleQueue("mine") as queue:
        queue.put({"who": "mine"}, serializer="json")

    send(app, "foreign.get", queue="mine", end=end)

    [got] = wait_until(lambda: raw.lrange("foreign:get", 0, -1), 20)
    assert json.loads(got) == {"who": "mine"}
    wait_until(lambda: not raw.exists(WEBHOOK_QUEUE), 10)
    held = [json.loads(message)["body"] for message in raw.hvals(KEYS.claims)]
    assert len(held) + raw.llen("mine") == len(left)
    assert len(held) == (not end)
    raw.delete("mine", *raw.keys("imagefleet:claims"), *raw.keys("imagefleet:leases"), KEYS.owners, KEYS.origins)


def test_a_delivery_that_is_none_is_a_dead_letter(app: Celery, raw: Any) -> None:
    send(app, "imagefleet.deliver", delivery={"url": "nowhere"})

    [text] = wait_until(lambda: raw.hvals(KEYS.dead), 20)
    letter = DeadLetter.model_validate_json(text)
    assert letter.task == "imagefleet.deliver"
    assert "event_id" in letter.message
    wait_until(lambda: is_idle(raw), 10)


def test_a_job_in_the_queue_of_webhooks_is_a_dead_letter(app: Celery, raw: Any) -> None:
    """No sender could ever run it, and it would be in their way."""
    send(app, "imagefleet.generate", job=JOB)

    [text] = wait_until(lambda: raw.hvals(KEYS.dead), 20)
    assert "send a job to imagefleet.<model>" in DeadLetter.model_validate_json(text).message
    wait_until(lambda: is_idle(raw), 10)


def test_a_worker_without_a_model_leaves_jobs_to_others(fleet: Fleet, app: Celery, raw: Any) -> None:
    """Whatever the name of the queue that it was told to consume; and it goes on with its own."""
    app.send_task("imagefleet.generate", kwargs={"job": JOB}, queue="mine", task_id="first")
    app.control.add_consumer("mine", destination=[f"sender@{platform.node()}"], reply=True, timeout=5)
    wait_until(lambda: "leaves a queue to others" in (fleet.folder / "sender.log").read_text(), 20)
    app.send_task("imagefleet.generate", kwargs={"job": JOB}, queue="mine", task_id="second")
    send(app, "foreign.reject", requeue=False)
    wait_until(lambda: raw.llen("foreign:reject") == 1, 20)

    assert [json.loads(text)["headers"]["id"] for text in raw.lrange("mine", 0, -1)] == ["second", "first"]
    assert not raw.hvals(KEYS.dead)
