"""An id that comes back: the same job has the same result, and another job is refused, whoever sends it."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from tests.support.fleet.fleet import Fleet
from tests.support.waiting import wait_until

from imagefleet import Client, IdTaken, JobResult, JobStatus
from imagefleet.store.dead_letters import DeadLetter
from imagefleet.store.keys import Keys

KEYS = Keys()
JOB: dict[str, Any] = {"prompt": "a red fox", "width": 64, "height": 64, "steps": 2, "seed": 7}
OTHER: dict[str, Any] = {**JOB, "prompt": "a blue whale"}


@pytest.fixture
def fleet(watched_fleet: Fleet) -> Fleet:
    return watched_fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with fleet.client() as client:
        yield client


@pytest.fixture
def app(fleet: Fleet) -> Iterator[Celery]:
    """A Celery app that has never heard of this package."""
    with Celery("foreign", broker=fleet.redis.url, backend=fleet.redis.url, set_as_current=False) as app:
        yield app


def send(app: Celery, job_id: str, job: dict[str, Any]) -> Any:
    return app.send_task("imagefleet.generate", kwargs={"job": job}, task_id=job_id, queue="imagefleet.default")


def make(client: Client, job_id: str) -> JobResult:
    return client.result(client.submit(JOB, job_id=job_id), timeout_s=60).raise_for_status()


def forget(fleet: Fleet, job_id: str) -> None:
    """Let the record of a job expire."""
    with fleet.raw() as raw:
        wait_until(lambda: not raw.zcard(KEYS.leases), 10)
        assert raw.delete(KEYS.job(job_id))


def objects(fleet: Fleet, job_id: str) -> dict[str, str]:
    """The hash of each object of a job."""
    s3 = fleet.s3
    keys = s3.keys()
    files = {
        key: s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
        for key in keys
        if f"images/{job_id}/" in key
    }
    return {key: hashlib.sha256(file).hexdigest() for key, file in files.items()}


def test_the_same_job_has_the_same_result_after_its_record_has_gone(fleet: Fleet, client: Client) -> None:
    first = make(client, "again")
    before = objects(fleet, "again")
    forget(fleet, "again")

    second = make(client, "again")

    assert second.artifacts == first.artifacts
    assert objects(fleet, "again") == before


def test_another_job_of_a_client_is_refused_as_long_as_there_is_a_record(fleet: Fleet, client: Client) -> None:
    first = make(client, "client-taken")

    with pytest.raises(IdTaken):
        client.submit(OTHER, job_id="client-taken")

    assert client.result("client-taken", timeout_s=5) == first


def test_another_job_of_a_celery_app_is_refused_as_long_as_there_is_a_record(
    fleet: Fleet, client: Client, app: Celery
) -> None:
    """Its sender hears of it, its message is a dead letter, and the record stays that of the first job."""
    first = make(client, "celery-taken")

    with pytest.raises(Exception, match="id_taken"):
        send(app, "celery-taken", OTHER).get(timeout=30)

    assert client.result("celery-taken", timeout_s=5) == first
    with fleet.raw() as raw:
        letters = [DeadLetter.model_validate_json(text) for text in raw.hvals(KEYS.dead)]
    assert [letter.reason for letter in letters if letter.job_id == "celery-taken"] == ["id_taken"]


def test_an_id_whose_key_is_another_programs_is_refused_and_no_other_job_waits(
    fleet: Fleet, client: Client, app: Celery
) -> None:
    """Its sender hears of it, its message is a dead letter, and the key stays as it is."""
    with fleet.raw() as raw:
        raw.set(KEYS.job("not-ours"), "of another program")
        sent = send(app, "not-ours", JOB)
        make(client, "behind-it")

        with pytest.raises(Exception, match="id_taken"):
            sent.get(timeout=30)

        letters = [DeadLetter.model_validate_json(text) for text in raw.hvals(KEYS.dead)]
        assert [letter.reason for letter in letters if letter.job_id == "not-ours"] == ["id_taken"]
        assert raw.get(KEYS.job("not-ours")) == "of another program"
        raw.delete(KEYS.job("not-ours"))


def test_the_same_job_of_a_celery_app_has_the_first_result(client: Client, app: Celery) -> None:
    first = make(client, "celery-same")

    got = send(app, "celery-same", JOB).get(timeout=30)

    assert JobResult.model_validate(got).artifacts == first.artifacts


@pytest.mark.parametrize("producer", ["client", "celery"])
def test_another_job_is_refused_after_the_record_has_gone(
    fleet: Fleet, client: Client, app: Celery, producer: str
) -> None:
    """The manifest in the bucket knows, and no image is overwritten."""
    job_id = f"{producer}-forgotten"
    make(client, job_id)
    before = objects(fleet, job_id)
    forget(fleet, job_id)

    if producer == "client":
        client.submit(OTHER, job_id=job_id)
    else:
        send(app, job_id, OTHER).get(timeout=30, propagate=False)
    result = client.result(job_id, timeout_s=30)

    assert result.error
    assert (result.status, result.error.code) == (JobStatus.FAILED, "id_taken")
    assert objects(fleet, job_id) == before


def test_a_random_id_that_is_used_again_is_noticed_as_well(fleet: Fleet, client: Client) -> None:
    """The bucket is not asked before the images of such a job are made; the manifest tells when they are stored."""
    job_id = client.submit(JOB)
    first = client.result(job_id, timeout_s=60).raise_for_status()
    before = objects(fleet, job_id)
    forget(fleet, job_id)
    again = client.result(client.submit(JOB, job_id=job_id), timeout_s=30)
    forget(fleet, job_id)
    other = client.result(client.submit(OTHER, job_id=job_id), timeout_s=30)

    assert again.artifacts == first.artifacts
    assert other.error
    assert other.error.code == "id_taken"
    assert objects(fleet, job_id) == before
