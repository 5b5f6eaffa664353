"""Jobs on their way out."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.canvas import Signature

from imagefleet.client import operations, submissions
from imagefleet.client.settings import ClientSettings
from imagefleet.contract.jobs import GenerationJob, JobLimits
from imagefleet.contract.queues import check_job_id
from imagefleet.errors import InvalidJob, QueueFull, SettingsInvalid
from imagefleet.store.keys import Keys

SETTINGS = ClientSettings()


def test_a_prompt_a_mapping_and_a_job_are_all_jobs() -> None:
    given = ["a dog", {"prompt": "a cat"}, GenerationJob(prompt="a cow")]
    checked = submissions.check(given, settings=SETTINGS)
    assert [job.prompt for job in checked] == ["a dog", "a cat", "a cow"]


def test_of_many_jobs_each_bad_one_is_numbered() -> None:
    with pytest.raises(InvalidJob) as caught:
        submissions.check(["ok", "", {"prompt": "x", "steps": 0, "hue": 1}], settings=SETTINGS)
    assert [line.split(":")[0] for line in caught.value.message.splitlines()] == ["job 1", "job 2"]
    assert "hue" in caught.value.message


def test_a_thousand_bad_jobs_make_a_message_that_can_be_read() -> None:
    with pytest.raises(InvalidJob, match="and 980 more bad jobs"):
        submissions.check([""] * 1000, settings=SETTINGS)


def test_the_limits_of_the_client_hold_for_finished_jobs_too() -> None:
    narrow = ClientSettings(limits=JobLimits(max_steps=10))
    with pytest.raises(InvalidJob, match="steps"):
        submissions.check([GenerationJob(prompt="x", steps=11)], settings=narrow)


@pytest.mark.parametrize("job_id", ["", "a b", "../x", "-a", "a" * 129, "a/b", "é"])
def test_an_id_that_could_break_a_key_is_refused(job_id: str) -> None:
    with pytest.raises(InvalidJob, match="id"):
        check_job_id(job_id)


def test_there_must_be_an_id_for_each_job() -> None:
    with pytest.raises(InvalidJob, match="1 given for 2"):
        submissions.assign_ids([GenerationJob(prompt="x")] * 2, ["a"])


def test_batches_are_of_one_model_and_bounded() -> None:
    jobs = [GenerationJob(prompt="x", model=f"m{n % 2}") for n in range(1200)]
    batches = list(submissions.batches(jobs, [str(n) for n in range(1200)]))
    assert [(batch.model, len(batch.jobs)) for batch in batches] == [("m0", 500), ("m0", 100), ("m1", 500), ("m1", 100)]
    assert [job.job_id for job in batches[0].jobs[:3]] == ["0", "2", "4"]


def test_a_full_queue_tells_what_was_accepted() -> None:
    """The ids of the batches that went before."""
    ids = [f"j{n}" for n in range(700)]
    submitting = operations.submit(ClientSettings(max_queued=600), ["x"] * 700, ids=ids, link=None, link_error=None)
    assert len(next(submitting)) == 2
    with pytest.raises(QueueFull, match=r"imagefleet\.default") as caught:
        submitting.send([["queued", 0], ["full", 500]])
    assert caught.value.accepted == tuple(ids[:500])


def test_a_message_carries_the_job_in_its_queue() -> None:
    job = GenerationJob(prompt="x", model="sdxl", priority=9, metadata={"a": 1})
    [batch] = submissions.batches([job], ["id-1"])
    message = json.loads(batch.jobs[0].message)
    assert message["properties"]["delivery_info"]["routing_key"] == "imagefleet.sdxl"
    assert batch.jobs[0].level == 1
    assert json.loads(batch.jobs[0].metadata) == {"a": 1}


def test_settings_come_from_the_environment() -> None:
    env = {"IMAGEFLEET_REDIS_URL": "redis://h/1", "IMAGEFLEET_REDIS_KEY_PREFIX": "a:", "IMAGEFLEET_MAX_QUEUED": "7"}
    settings = ClientSettings.from_env(env)
    assert (settings.url, settings.keys, settings.max_queued) == ("redis://h/1", Keys("a:"), 7)
    assert ClientSettings.from_env({"IMAGEFLEET_REDIS_URL": ""}) == ClientSettings()


def test_a_limit_that_is_no_number_is_named() -> None:
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_MAX_QUEUED"):
        ClientSettings.from_env({"IMAGEFLEET_MAX_QUEUED": "many"})


def test_limits_come_from_the_variables_of_the_workers() -> None:
    """A fleet that grants more is of no use to a client that asks for less."""
    settings = ClientSettings.from_env({"IMAGEFLEET_LIMIT_MAX_STEPS": "500"})
    assert submissions.check([{"prompt": "a fox", "steps": 300}], settings=settings)
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_LIMIT_MAX_STEPS: must be more than 0"):
        ClientSettings.from_env({"IMAGEFLEET_LIMIT_MAX_STEPS": "0"})
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_LIMIT_MAX_STEPS: must be a whole number"):
        ClientSettings.from_env({"IMAGEFLEET_LIMIT_MAX_STEPS": "many"})


@pytest.mark.parametrize("link", ["x", {}, [None], [{"task": 7}]])
def test_a_link_that_is_no_signature_is_refused(link: Any) -> None:
    """A worker would have to put the job's message away."""
    with pytest.raises(InvalidJob, match="must be Celery signatures"):
        list(submissions.batches([GenerationJob(prompt="x")], ["id-1"], link=link))


def test_a_link_that_only_names_its_task_has_what_celery_reads() -> None:
    [batch] = submissions.batches([GenerationJob(prompt="x")], ["id-1"], link={"task": "my.task"})
    _, _, embed = json.loads(json.loads(batch.jobs[0].message)["body"])
    assert Signature.from_dict(embed["callbacks"][0]).task == "my.task"
    assert embed["callbacks"][0]["kwargs"] == {}


@pytest.mark.parametrize("job", [5, None, b"x"])
def test_what_is_no_job_is_refused(job: Any) -> None:
    with pytest.raises(InvalidJob, match="must be a GenerationJob, a mapping of its fields, or a prompt"):
        submissions.check([job], settings=SETTINGS)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(ClientSettings(url="redis://u:secret@h/0"))


def test_expires_in_s_is_a_deadline_from_now() -> None:
    (job,) = submissions.check([{"prompt": "a fox", "expires_in_s": 30}], settings=SETTINGS)
    assert job.deadline is not None
    assert timedelta(seconds=20) < job.deadline - datetime.now(UTC) <= timedelta(seconds=30)


@pytest.mark.parametrize("seconds", [0, -1, "30", True, 1e12])
def test_what_is_no_number_of_seconds_is_refused(seconds: object) -> None:
    with pytest.raises(InvalidJob, match="expires_in_s: must be a number of seconds"):
        submissions.check([{"prompt": "a fox", "expires_in_s": seconds}], settings=SETTINGS)


def test_a_job_ends_at_one_time() -> None:
    job = {"prompt": "a fox", "expires_in_s": 30, "deadline": "2031-01-01T00:00:00Z"}
    with pytest.raises(InvalidJob, match="give one of them"):
        submissions.check([job], settings=SETTINGS)
