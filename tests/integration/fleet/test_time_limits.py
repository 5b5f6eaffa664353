"""Celery's time limits: of a message, of a worker, of `control`. Threads cannot be killed, so a job ends itself."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signature
from tests.support.fleet.fleet import Fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import Client, JobLimits, JobStatus

LONG: dict[str, Any] = {"prompt": "a cat", "width": 64, "height": 64, "steps": 900, "metadata": {"order": 7}}


@pytest.fixture
def fleet(busy_fleet: Fleet) -> Fleet:
    return busy_fleet


@pytest.fixture
def app(fleet: Fleet) -> Iterator[Celery]:
    with Celery("foreign", broker=fleet.redis.url, backend=fleet.redis.url, set_as_current=False) as app:
        yield app


@pytest.mark.parametrize("limits", [{"time_limit": 1}, {"soft_time_limit": 1, "time_limit": 60}])
def test_a_job_ends_at_the_limit_of_its_message(
    fleet: Fleet, app: Celery, receiver: Receiver, limits: dict[str, int]
) -> None:
    """Within a step: its record, its webhook, Celery's result and `link_error` say so, and nothing is stored."""
    link_error = signature("foreign.failed", queue="time-limits", app=app)
    job = {**LONG, "webhook": {"url": receiver.url}}

    sent = app.send_task(
        "imagefleet.generate", kwargs={"job": job}, queue="imagefleet.default", link_error=link_error, **limits
    )

    with pytest.raises(Exception, match=r"timed_out: .*time limit of 1 s"):
        sent.get(timeout=30)
    with fleet.client() as client, fleet.raw() as raw:
        result = client.result(sent.id, timeout_s=10)
        assert result.error
        assert (result.status, result.error.code, result.metadata) == (JobStatus.FAILED, "timed_out", {"order": 7})
        assert json.loads(receiver.wait_for(1, 20)[0].body)["data"]["error"]["code"] == "timed_out"
        assert wait_until(lambda: raw.rpop("time-limits"), 10)
    assert not any(sent.id in key for key in list(fleet.s3.keys()))


def test_a_limit_by_remote_control_is_kept_by_the_jobs_that_begin_later(fleet: Fleet, app: Celery) -> None:
    """Of every producer; 0 ends it."""

    def set_limit(**limits: float) -> list[Any]:
        replies = app.control.time_limit("imagefleet.generate", reply=True, timeout=2, **limits)
        return [reply for each in replies for reply in each.values()]

    assert any("ok" in reply for reply in set_limit(hard=1))
    try:
        with Client(fleet.redis.url, limits=JobLimits(max_steps=900)) as client:
            result = client.result(client.submit(LONG), timeout_s=30)
            assert result.error
            assert result.error.code == "timed_out"
            assert any("error" in reply for reply in set_limit(hard=-1))
    finally:
        set_limit(hard=0)
    with fleet.client() as client:
        assert client.result(client.submit({**LONG, "steps": 50}), timeout_s=60).status is JobStatus.SUCCEEDED


def test_the_limit_of_a_worker_is_kept_by_the_jobs_that_bring_none(fleet: Fleet) -> None:
    """As `--time-limit` gives it."""
    env = {"IMAGEFLEET_MODEL_ALIAS": "limited", "IMAGEFLEET_MODEL_WARM_UP": "false"}
    limited = fleet.start("limited", env=env, options=("--time-limit", "1", "--soft-time-limit=120"))
    wait_until_ready(limited)
    with Client(fleet.redis.url, limits=JobLimits(max_steps=900)) as client:
        result = client.result(client.submit(LONG, model="limited"), timeout_s=30)
        assert result.error
        assert (result.error.code, "time limit of 1 s" in result.error.message) == ("timed_out", True)
    limited.stop(20)
