"""Nobody waits in silence for a worker that there is not."""

from datetime import UTC, datetime

import pytest
import redis
from tests.support import command_line

from imagefleet import Client, NoWorker, Worker, WorkerState
from imagefleet.store import worker_registry
from imagefleet.store.keys import Keys

KEYS = Keys()

NONE = "no worker serves sdxll; there are: sdxl; name one of these, or start a worker of sdxll"


def register(url: str, model: str, *, state: WorkerState = WorkerState.READY) -> None:
    """Register a worker of *model*."""
    worker = Worker(
        id=model,
        name=f"{model}@h",
        host="h",
        pid=1,
        queues=(f"imagefleet.{model}",),
        state=state,
        model=model,
        started_at=datetime.now(UTC),
    )
    with redis.Redis.from_url(url) as client:
        client.execute_command(*worker_registry.register(KEYS, worker, ttl_s=60))


def unregister(url: str, model: str) -> None:
    with redis.Redis.from_url(url) as client:
        for command in worker_registry.unregister(KEYS, model):
            client.execute_command(*command)


def run(url: str, *args: str) -> tuple[int, str, str]:
    done = command_line.run(*args, env={"IMAGEFLEET_REDIS_URL": url, "COLUMNS": "100"})
    return done.returncode, done.stdout, done.stderr


def test_a_model_that_no_worker_has_served_is_refused_by_name(redis_url: str) -> None:
    register(redis_url, "sdxl")
    with Client(redis_url) as client:
        with pytest.raises(NoWorker, match=NONE):
            client.submit("a fox", model="sdxll", require_worker=True)
        assert client.queue_length("sdxll") == 0
        client.submit("a fox", model="sdxl", require_worker=True)
        client.submit("a fox", model="sdxll")
    code, out, err = run(redis_url, "submit", "a fox", "--model", "sdxll")
    assert (code, out) == (7, "")
    assert NONE in err


def test_a_model_whose_workers_are_scaled_to_zero_is_served(redis_url: str) -> None:
    register(redis_url, "sdxl")
    unregister(redis_url, "sdxl")
    with Client(redis_url) as client:
        client.submit("a fox", model="sdxl", require_worker=True)
    assert run(redis_url, "submit", "a fox", "--model", "sdxl")[0] == 0


def test_before_the_first_worker_jobs_are_queued_and_the_command_says_that_they_wait(redis_url: str) -> None:
    code, out, err = run(redis_url, "submit", "a fox", "--id", "one")
    assert (code, out) == (0, "one\n")
    assert "no worker serves default; none has served any model yet; start one; the job waits" in err
    with Client(redis_url) as client, pytest.raises(NoWorker, match="start one"):
        client.submit("a fox", require_worker=True)


def test_the_outlook_says_why_a_job_waits(redis_url: str) -> None:
    with Client(redis_url) as client:
        register(redis_url, "sdxl")
        lost = client.submit("a fox", model="sdxll")
        job = client.submit("a fox", model="sdxl")
        assert client.outlook(lost).reason == NONE
        assert client.outlook(job).reason is None
        register(redis_url, "sdxl", state=WorkerState.LOADING)
        assert client.outlook(job).reason == "no worker of sdxl takes jobs now; they are loading"
        unregister(redis_url, "sdxl")
        assert client.outlook(job).reason == "no worker serves sdxl now; start one, or wait until one is started"
    assert f"{lost}: no worker serves sdxll; there are: sdxl" in run(redis_url, "status", lost)[1]
