"""`celery purge`: all that waits in a queue goes, and each of its jobs has an end."""

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery import Celery, signature
from celery.exceptions import TaskRevokedError
from tests.support.fleet.processes import clean_environment

from imagefleet import Client, JobStatus
from imagefleet.contract import messages
from imagefleet.contract.queues import GENERATE_TASK, LEVELS, WEBHOOK_QUEUE, queue_for
from imagefleet.store.keys import Keys
from imagefleet_worker.queue import purging_transport
from imagefleet_worker.queue.leases import Leases

QUEUE = queue_for("default")
JOB: dict[str, Any] = {"prompt": "a fox", "metadata": {"order": 7}, "webhook": {"url": "https://example.com/hook"}}


@pytest.fixture
def app(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An app whose connections purge as those of `imagefleet_worker.app` do."""
    monkeypatch.setattr("kombu.transport._transport_cache", {})  # an app of another test may have made a connection
    purging_transport.install()
    with Celery("purger", broker=redis_url, set_as_current=False) as app:
        app.conf.update(task_default_queue=QUEUE, broker_transport_options={"global_keyprefix": ""})
        yield app


def fill(client: Client, raw: "redis.Redis") -> list[str]:
    """Jobs in every place where one may wait; gives their ids."""
    ids = [client.submit(JOB, priority=priority) for priority in range(10)]
    ids += [
        client.submit(JOB, priority=priority, tenant=tenant) for priority in (0, 5, 9) for tenant in ("acme", "bob")
    ]
    eta = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    late = json.loads(message(f"later-{uuid.uuid4()}"))
    late["headers"]["eta"] = eta
    raw.zadd(Keys().delayed, {json.dumps([QUEUE, json.dumps(late)]): datetime.now(UTC).timestamp() + 3600})
    return [*ids, late["headers"]["id"]]


def foreign_app(url: str, prefix: str) -> Celery:
    """An app that knows nothing of this package."""
    app = Celery("foreign", broker=url, backend=url, set_as_current=False)
    options = {"global_keyprefix": prefix}
    app.conf.update(broker_transport_options=options, result_backend_transport_options=options)
    return app


def message(job_id: str) -> str:
    return messages.encode(GENERATE_TASK, {"job": JOB}, message_id=job_id, queue=QUEUE)


def test_all_that_waits_is_purged_and_each_job_is_canceled(app: Celery, client: Client, raw: "redis.Redis") -> None:
    """The urgent list, the tenants' lanes and what waits for its time; a job without a record gets one."""
    ids = fill(client, raw)
    raw.lpush(QUEUE, message("by-hand"), "no message", b"\xff\xfe")
    raw.zadd(Keys().delayed, {json.dumps(["imagefleet.other", message("others")]): 1e10})

    count = app.control.purge()

    assert count == len(ids) + 3
    assert not raw.exists(*Keys().lists(QUEUE), *Keys().lanes(QUEUE))
    assert raw.zcard(Keys().delayed) == 1
    for job_id in [*ids, "by-hand"]:
        result = client.result(job_id, timeout_s=5)
        assert (result.status, result.metadata) == (JobStatus.CANCELED, {"order": 7})
        assert result.error
        assert "purged" in result.error.message
        assert 0 < raw.ttl(Keys().job(job_id)) <= 21_600
    assert raw.llen(WEBHOOK_QUEUE) == len(ids) + 1
    assert app.control.purge() == 0


def test_a_purged_queue_serves_the_next_jobs(app: Celery, client: Client, raw: "redis.Redis") -> None:
    """Also those of tenants whose lanes were purged."""
    fill(client, raw)
    app.control.purge()
    following = client.submit(JOB, tenant="acme")
    leases = Leases(raw, keys=Keys(), duration_s=30)

    claimed = leases.claim([QUEUE])

    assert claimed
    assert json.loads(claimed.message)["headers"]["id"] == following
    assert leases.claim([QUEUE]) is None
    leases.close()


def test_what_a_worker_holds_is_not_purged(app: Celery, client: Client, raw: "redis.Redis") -> None:
    job_id = client.submit(JOB)
    leases = Leases(raw, keys=Keys(), duration_s=30, worker="gpu0")
    assert leases.claim([QUEUE])

    assert app.control.purge() == 0

    assert client.status(job_id) is JobStatus.RUNNING
    leases.close()


def test_more_than_one_script_removes_are_purged(app: Celery, client: Client, raw: "redis.Redis") -> None:
    ids = client.submit_many([JOB] * 250)

    assert app.control.purge() == 250

    assert {client.status(job_id) for job_id in ids} == {JobStatus.CANCELED}


def test_kombu_counts_what_waits_in_all_lists(app: Celery, client: Client, raw: "redis.Redis") -> None:
    fill(client, raw)

    with app.connection_for_write() as connection:
        assert connection.default_channel._size(QUEUE) == 16


@pytest.mark.parametrize("prefix", ["", "fx:"])
def test_the_command_purges(redis_url: str, raw: "redis.Redis", prefix: str) -> None:
    """As people type it, with a prefix of keys too; whoever waits for a result hears of it."""
    with Client(redis_url, key_prefix=prefix) as client, foreign_app(redis_url, prefix) as app:
        ids = [client.submit(JOB, priority=priority, tenant="acme") for priority in (0, 5, 9)]
        link_error = signature("foreign.failed", queue="failed", app=app)
        awaited = app.send_task(GENERATE_TASK, kwargs={"job": JOB}, queue=QUEUE, link_error=link_error)
        ignored = app.send_task(GENERATE_TASK, kwargs={"job": JOB}, queue=QUEUE, ignore_result=True)
        following = (signature("any", queue=QUEUE, app=app) | signature("any", queue="other", app=app)).apply_async()
        env = {"IMAGEFLEET_REDIS_URL": redis_url, "IMAGEFLEET_REDIS_KEY_PREFIX": prefix}
        ended = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "imagefleet_worker.app", "purge", "-f"],
            env={**clean_environment(), **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

        assert "Purged 6 messages from 1 known task queue." in ended.stdout
        for result in (awaited, following.parent, following):
            with pytest.raises(TaskRevokedError, match="its queue was purged"):
                result.get(timeout=5)
        assert ignored.state == "PENDING"
        assert raw.llen(f"{prefix}failed") == 1
        assert {client.status(job_id) for job_id in ids} == {JobStatus.CANCELED}
        assert not raw.exists(*(f"{prefix}{QUEUE}{level}" for level in LEVELS))
