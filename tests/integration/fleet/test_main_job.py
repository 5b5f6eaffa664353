"""The main job on real parts: a job goes in, images lie in S3, and everybody concerned hears of it."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery, signature
from PIL import Image
from tests.support.c2pa_authority import Authority, source_type_in
from tests.support.fleet.fleet import SECRET, Fleet
from tests.support.fleet.processes import clean_environment
from tests.support.node import EXAMPLE, NODE, install_example, node_environment
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import AsyncClient, Client, JobResult, JobStatus, JobUpdate, Webhook, webhooks
from imagefleet.store.keys import Keys
from imagefleet_worker.jobs.image_maker import seed_for

FAST: dict[str, Any] = {"width": 64, "height": 64, "steps": 2}


@pytest.fixture
def fleet(watched_fleet: Fleet) -> Fleet:
    return watched_fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    """A client of the fleet."""
    with fleet.client() as client:
        yield client


def stored(fleet: Fleet, uri: str) -> dict[str, Any]:
    """The object at *uri*."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return fleet.s3.client.get_object(Bucket=bucket, Key=key)


@pytest.mark.parametrize(("form", "quality"), [("png", None), ("webp", None), ("webp", 80), ("jpeg", 85)])
def test_a_prompt_becomes_a_stored_image(fleet: Fleet, client: Client, form: str, quality: int | None) -> None:
    """The object is the image that the result describes, under its key, with its parameters."""
    job_id = client.submit("a red fox", **FAST, seed=7, format=form, quality=quality, metadata={"order": 12})

    result = client.result(job_id, timeout_s=60).raise_for_status()

    (artifact,) = result.artifacts
    found = stored(fleet, artifact.uri)
    body = found["Body"].read()
    assert re.fullmatch(rf"s3://{fleet.s3.bucket}/images/{job_id}/0-[0-9a-f]{{12}}\.{form}", artifact.uri)
    assert hashlib.sha256(body).hexdigest() == artifact.sha256
    assert f"image/{form}" == found["ContentType"]
    assert Image.open(io.BytesIO(body)).size == (64, 64)
    assert result.metadata == {"order": 12}
    assert (artifact.seed, result.attempts) == (7, 1)
    assert result.worker
    assert result.worker.startswith("gpu0@")


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_a_job_that_forbids_it_is_not_described_in_its_file_or_object(fleet: Fleet, client: Client, form: str) -> None:
    """Neither the bytes nor the headers of a download have its prompt."""
    job_id = client.submit("a secret fox", **FAST, format=form, embed=False, tenant="acme", group="calendar")

    result = client.result(job_id, timeout_s=60).raise_for_status()

    found = stored(fleet, result.artifacts[0].uri)
    body = found["Body"].read()
    assert set(found["Metadata"]) == {"sha256"}
    assert not any(word in body for word in (b"secret fox", "secret fox".encode("utf-16-be"), b"acme", b"calendar"))


@pytest.mark.parametrize("embed", [True, False])
def test_stored_images_are_signed_and_say_nothing_of_their_job(
    fleet: Fleet, client: Client, authority: Authority, *, embed: bool
) -> None:
    """Others read who made them, and with what; not for whom, and not from which prompt."""
    asked: dict[str, Any] = {**FAST, "num_images": 2, "embed": embed, "tenant": "acme", "group": "calendar"}
    ids = [client.submit("a secret fox", **asked, format=form) for form in ("png", "webp", "jpeg")]

    results = [client.result(job_id, timeout_s=60).raise_for_status() for job_id in ids]

    for artifact in (artifact for result in results for artifact in result.artifacts):
        body = stored(fleet, artifact.uri)["Body"].read()
        state, manifest = authority.manifest_in(body, artifact.media_type)
        assert (state, source_type_in(manifest).rpartition("/")[2]) == ("Trusted", "trainedAlgorithmicMedia")
        assert not any(word in manifest for word in ("fox", "acme", "calendar", *ids))
        assert hashlib.sha256(body).hexdigest() == artifact.sha256


def test_each_image_of_a_job_can_be_made_again_alone(client: Client) -> None:
    """Image i of a job is the image of seed + i."""
    together = client.submit("a whale", **FAST, seed=100, num_images=3)
    alone = client.submit("a whale", **FAST, seed=102)

    results = {result.id: result for result in client.as_completed([together, alone], timeout_s=60)}

    assert [artifact.seed for artifact in results[together].artifacts] == [100, 101, 102]
    assert results[alone].artifacts[0].width == 64


def test_what_is_not_as_asked_is_in_the_result_the_manifest_and_the_webhook(
    fleet: Fleet, client: Client, receiver: Receiver
) -> None:
    """Two prompts that differ after token 77 give the same image; whoever sees it can know that."""
    long = "x" * 80 + " a fox"
    job_id = client.submit(long, **FAST, webhook=Webhook(url=receiver.url))

    (warning,) = client.result(job_id, timeout_s=60).raise_for_status().warnings

    assert (warning.code, warning.field, warning.detail["cut"]) == ("prompt_truncated", "prompt", "xxxxx a fox")
    manifest = json.loads(stored(fleet, f"s3://{fleet.s3.bucket}/images/{job_id}/result.json")["Body"].read())
    request = receiver.wait_for(1)[0]
    event = webhooks.verify(request.body, request.headers, secret=SECRET)
    for told in (manifest["warnings"], [each.model_dump() for each in event.data.warnings]):
        assert told == [warning.model_dump()]


def test_a_strict_job_has_no_image_that_is_not_as_asked(client: Client) -> None:
    """And says why, in the same words."""
    result = client.result(client.submit("x" * 80, **FAST, strict=True), timeout_s=60)

    assert result.error
    assert (result.status, result.error.code, result.error.retryable) == (JobStatus.FAILED, "not_as_asked", False)
    assert [(each.code, each.message) for each in result.warnings] == [("prompt_truncated", result.error.message)]


def test_what_the_checker_of_the_fleet_says_is_in_the_result(client: Client) -> None:
    """An image that it flags is not stored; of other jobs its labels are kept."""
    good, bad = (client.submit(prompt, **FAST, num_images=2) for prompt in ("a good fox", "a bad fox"))

    kept, refused = (client.result(job_id, timeout_s=60) for job_id in (good, bad))

    assert [artifact.labels for artifact in kept.artifacts] == [{"bad": 0.1}] * 2
    assert kept.timings.check_s is not None
    assert (refused.status, refused.artifacts) == (JobStatus.FAILED, ())
    assert refused.error
    assert refused.error.code == "image_flagged"
    (warning,) = refused.warnings
    assert (warning.code, warning.image, warning.detail["labels"]) == ("image_flagged", 1, {"bad": 0.9})


def test_the_manifest_is_the_result(fleet: Fleet, client: Client) -> None:
    """Whoever has only the bucket knows how the job went."""
    job_id = client.submit("a cat", **FAST)
    result = client.result(job_id, timeout_s=60)

    manifest = json.loads(stored(fleet, f"s3://{fleet.s3.bucket}/images/{job_id}/result.json")["Body"].read())

    assert result.artifacts[0].sha256 == manifest["artifacts"][0]["sha256"]
    assert manifest["status"] == "succeeded"


def test_a_presigned_url_downloads_the_image(client: Client) -> None:
    """Without credentials, for those who asked."""
    asked = client.result(client.submit("a cat", **FAST, presign=True), timeout_s=60).artifacts[0]
    not_asked = client.result(client.submit("a cat", **FAST), timeout_s=60).artifacts[0]

    assert asked.url
    assert asked.sha256 == hashlib.sha256(httpx.get(asked.url).content).hexdigest()
    assert not_asked.url is None


def test_a_job_without_a_seed_is_the_same_at_every_attempt(client: Client) -> None:
    """The seed comes from the id, so that a redelivered job makes the same image."""
    job_id = client.submit("a cat", **FAST)

    assert seed_for(job_id) == client.result(job_id, timeout_s=60).artifacts[0].seed


def test_the_same_id_twice_is_one_job(client: Client) -> None:
    """A submit can be repeated after an error."""
    job_id = f"order-{uuid.uuid4().hex[:8]}"
    assert job_id == client.submit("a cat", **FAST, job_id=job_id)
    assert job_id == client.submit("a cat", **FAST, job_id=job_id)

    assert client.result(job_id, timeout_s=60).attempts == 1
    assert client.get(job_id).attempts == 1


def test_the_claim_is_gone_when_the_result_is_there(fleet: Fleet, client: Client) -> None:
    """Nothing is left that could be redelivered; a claim that was acknowledged later would be seen here."""
    with fleet.raw() as raw:
        for number in range(10):
            client.result(client.submit(f"a hare {number}", **FAST), timeout_s=60).raise_for_status()

            assert raw.hlen(Keys().claims) == 0


def test_progress_counts_up_to_the_pipelines_own_number_of_steps(client: Client) -> None:
    """A bar reaches its end."""
    job_id = client.submit("a cat", width=64, height=64, steps=200)  # long enough for a report or more

    seen = [event.progress for event in client.events(job_id, timeout_s=60) if event.progress]

    assert seen
    assert {200} == {progress.total for progress in seen}
    assert sorted(seen) == seen


def test_previews_come_with_the_progress_and_go_with_the_job(fleet: Fleet, client: Client) -> None:
    """For those who listen from the start, and for those who come late; afterwards nothing of them is in Redis."""
    job_id = client.submit("a cat", width=64, height=64, steps=200, preview_every=5)
    early = (event.preview for event in client.events(job_id, timeout_s=60) if event.preview)
    next(early)
    with fleet.raw() as raw, fleet.client() as another:
        assert 0 < raw.ttl(Keys().preview(job_id)) <= 10
        late = next(event for event in another.events(job_id, timeout_s=60))

        others = list(early)

        assert late.preview
        assert others
        for preview in (late.preview, *others):
            assert preview.media_type == "image/webp"
            assert Image.open(io.BytesIO(preview.data)).size == (preview.width, preview.height)
        assert not raw.exists(Keys().preview(job_id))


async def test_previews_are_for_asyncio_too_and_only_for_who_asks(fleet: Fleet) -> None:
    """Without `preview_every` there are none."""
    async with AsyncClient(fleet.redis.url) as client:
        asking, plain = [
            [event async for event in client.events(await client.submit("a cat", **fields), timeout_s=60)]
            for fields in ({**FAST, "steps": 60, "preview_every": 1}, {**FAST, "steps": 60})
        ]

    assert any(event.preview for event in asking)
    assert not any(event.preview for event in plain)


def test_a_running_job_stops_within_a_step_of_its_cancel(fleet: Fleet, client: Client) -> None:
    """Nothing is stored for it, and its neighbour is not touched."""
    doomed = client.submit("a cat", width=64, height=64, steps=200)
    neighbour = client.submit("a dog", width=64, height=64, steps=30)
    wait_until(lambda: client.get(doomed).progress, 30)

    client.cancel(doomed)

    result = client.result(doomed, timeout_s=20)
    assert result.status == JobStatus.CANCELED
    assert client.result(neighbour, timeout_s=60).status == JobStatus.SUCCEEDED
    assert not any(doomed in key for key in list(fleet.s3.keys()))


def test_a_webhook_arrives_signed_with_the_result(client: Client, receiver: Receiver) -> None:
    """The receiver knows who sent it, and what became of the job."""
    job_id = client.submit("a cat", **FAST, webhook=Webhook(url=receiver.url))

    (request,) = receiver.wait_for(1, 30)

    event = webhooks.verify(request.body, request.headers, secret=SECRET)
    assert ("job.succeeded", job_id) == (event.type, event.data.id)
    assert client.result(job_id).artifacts == event.data.artifacts


def test_a_webhook_is_tried_again_with_the_same_id(client: Client, receiver: Receiver) -> None:
    """A receiver that was away hears of the job, and can tell a repetition."""
    receiver.reply(503)
    client.submit("a cat", **FAST, webhook=Webhook(url=receiver.url))
    receiver.wait_for(1, 30)
    receiver.reply(204)

    requests = receiver.wait_for(2, 30)

    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert len({request.body for request in requests}) == 1


def test_a_receiver_hears_of_the_events_that_it_asked_for(client: Client, receiver: Receiver) -> None:
    """From the queue to the end; steps are told now and then, and not each."""
    job_id = client.submit(
        "a cat",
        width=64,
        height=64,
        steps=200,
        metadata={"order": 7},
        webhook=Webhook(url=receiver.url, events=("job.queued", "job.running", "job.progress", "job.succeeded")),
    )

    result = client.result(job_id, timeout_s=60)
    wait_until(lambda: any(request.event.type == "job.succeeded" for request in receiver.requests), 20)

    events = [webhooks.verify(request.body, request.headers, secret=SECRET) for request in receiver.requests]
    kinds = [event.type.value for event in events]
    steps = [event.data.progress for event in events if isinstance(event.data, JobUpdate) and event.data.progress]
    assert [kinds.count(kind) for kind in ("job.queued", "job.running", "job.succeeded")] == [1, 1, 1]
    assert 1 <= len(steps) <= result.timings.generate_s / 0.3 + 1
    assert {step.total for step in steps} == {200}
    assert {event.data.id for event in events} == {job_id}
    assert all(event.data.metadata == {"order": 7} for event in events)
    assert len({event.id for event in events}) == len(events)


def test_who_asked_for_nothing_else_hears_only_of_the_end(client: Client, receiver: Receiver) -> None:
    """As before there were other events."""
    client.result(client.submit("a cat", **FAST, webhook=Webhook(url=receiver.url)), timeout_s=60)

    receiver.wait_for(1, 30)

    assert [request.event.type for request in receiver.requests] == ["job.succeeded"]


def foreign_app(fleet: Fleet) -> Celery:
    """A Celery app that has never heard of this package."""
    app = Celery("foreign", broker=fleet.redis.url, backend=fleet.redis.url, set_as_current=False)
    app.conf.update(broker_connection_retry_on_startup=True)
    return app


def test_any_celery_app_can_send_jobs_and_be_linked_to(fleet: Fleet) -> None:
    """`send_task`, `AsyncResult.get` and `link` are plain Celery."""
    app = foreign_app(fleet)
    link = signature("foreign.images_ready", queue="foreign", app=app)

    sent = app.send_task(
        "imagefleet.generate", kwargs={"job": {"prompt": "a cat", **FAST}}, queue="imagefleet.default", link=link
    )
    result = sent.get(timeout=60)

    assert ("succeeded", sent.id) == (result["status"], result["id"])
    with fleet.raw() as raw:
        callback = json.loads(wait_until(lambda: raw.rpop("foreign"), 10))
    assert callback["headers"]["task"] == "foreign.images_ready"
    app.close()


def test_link_error_hears_of_a_job_that_cannot_be_made(fleet: Fleet) -> None:
    """With the code and the reason."""
    app = foreign_app(fleet)
    link_error = signature("foreign.images_failed", queue="foreign-errors", app=app)

    sent = app.send_task(
        "imagefleet.generate",
        kwargs={"job": {"prompt": "a cat", "steps": 0}},
        queue="imagefleet.default",
        link_error=link_error,
    )

    with pytest.raises(Exception, match=r"invalid_job: steps: must be 1 or more; it is 0"):
        sent.get(timeout=60)
    with fleet.raw() as raw:
        assert wait_until(lambda: raw.rpop("foreign-errors"), 10)
    app.close()


def test_hand_made_json_on_the_list_is_a_job(fleet: Fleet, client: Client) -> None:
    """The smallest message that any language can push."""
    job_id = str(uuid.uuid4())
    message = {
        "body": json.dumps([[], {"job": {"prompt": "a cat", **FAST}}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": "imagefleet.generate", "id": job_id},
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": "imagefleet.default"},
        },
    }
    with fleet.raw() as raw:
        raw.lpush("imagefleet.default", json.dumps(message))
        wait_until(lambda: raw.exists(Keys().job(job_id)), 20)

    assert client.result(job_id, timeout_s=60).status == JobStatus.SUCCEEDED


def test_the_example_in_node_submits_waits_and_verifies(fleet: Fleet, tmp_path: Path) -> None:
    """With a plain Redis client, and a receiver of its own. The job is long enough for a second report of its steps."""
    folder = install_example(tmp_path)
    asked = {
        "IMAGEFLEET_REDIS_URL": fleet.redis.url,
        "IMAGEFLEET_EXAMPLE_JOB": json.dumps({**FAST, "steps": 150}),
        "WEBHOOK_SECRET": SECRET,
    }

    ended = subprocess.run(
        [NODE, "main.js", "a lighthouse, by node"],
        cwd=folder,
        env={**node_environment(), **asked},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    result = JobResult.model_validate(told["result"])
    assert (result.id, result.status, told["webhook"]) == (told["id"], JobStatus.SUCCEEDED, "job.succeeded")
    assert stored(fleet, result.artifacts[0].uri)["ContentType"] == "image/png"
    assert "of 150 steps" in ended.stderr


def test_the_example_in_node_refuses_a_forged_webhook(tmp_path: Path) -> None:
    """Another secret, another body, a time long past; the right one passes, and so does one of two while it rotates."""
    body = '{"type":"job.succeeded","title":"Hündchen 🐶"}'
    other, now = "whsec_b3RoZXI=", int(time.time())

    def headers(text: str, *secrets: str, at: int = now) -> dict[str, str]:
        return webhooks.headers(text.encode(), secrets=secrets, event_id="evt_1", timestamp=at)

    cases = [
        headers(body, SECRET),
        headers(body, other, SECRET),
        headers(body, other),
        headers(body + " ", SECRET),
        headers(body, SECRET, at=now - 400),
        {},
    ]
    (tmp_path / "cases.json").write_text(json.dumps({"body": body, "secret": SECRET, "cases": cases}))
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ verify }} from "{EXAMPLE / "imagefleet.js"}";
        const {{ body, secret, cases }} = JSON.parse(readFileSync("cases.json", "utf8"));
        const passes = (each) => {{ try {{ return verify(body, each, secret).type; }} catch {{ return "refused"; }} }};
        console.log(JSON.stringify(cases.map(passes)));
    """

    verdicts = subprocess.run(
        [NODE, "--input-type=module", "-e", script],
        cwd=tmp_path,
        env=node_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout

    assert json.loads(verdicts) == ["job.succeeded"] * 2 + ["refused"] * 4


BAD_JOBS: list[tuple[Any, str]] = [
    ({"prompt": "x", "steps": 10_000}, "steps"),
    ({"prompt": "x" * 100_000}, "prompt"),
    ({"prompt": "x", "width": 100_000}, "width"),
    ({"prompt": "x", "format": "tiff"}, "format"),
    ({"prompt": "x", "colour": "red"}, "colour"),
    ({"prompt": "x", "version": 2}, "version"),
    ({"prompt": "x", "model": "other"}, "model"),
    ({"prompt": "x", "scheduler": "NoSuchScheduler"}, "scheduler"),
    ("a cat", "kwargs"),
    (None, "kwargs"),
]


@pytest.mark.parametrize(("job", "field"), BAD_JOBS, ids=[f"{n}-{field}" for n, (_, field) in enumerate(BAD_JOBS)])
def test_a_bad_job_that_nobody_checked_ends_as_failed(fleet: Fleet, client: Client, job: Any, field: str) -> None:
    """With a code and the name of the field, and the worker goes on."""
    sent = foreign_app(fleet).send_task("imagefleet.generate", kwargs={"job": job}, queue="imagefleet.default")
    with fleet.raw() as raw:
        wait_until(lambda: raw.exists(Keys().job(str(sent.id))), 20)

    result = client.result(str(sent.id), timeout_s=20)

    assert result.status == JobStatus.FAILED
    assert result.error
    assert result.error.code == "invalid_job"
    assert field in result.error.message


def test_the_control_plane_answers_while_images_are_made(fleet: Fleet, client: Client) -> None:
    """`inspect ping` and `inspect active` in under a second."""
    ids = client.submit_many([{"prompt": f"cat {n}", "width": 64, "height": 64, "steps": 150} for n in range(4)])
    wait_until(lambda: client.get(ids[0]).progress, 30)
    app = foreign_app(fleet)

    name = client.get(ids[0]).worker or ""
    for ask in ("ping", "active"):
        start = time.monotonic()
        inspect = app.control.inspect(destination=[name], timeout=5)
        (answer,) = getattr(inspect, ask)().values()
        assert time.monotonic() - start < 1
        assert ask == "ping" or any(task["name"] == "imagefleet.generate" for task in answer)
    for job_id in ids:
        client.cancel(job_id)
    assert len(list(client.as_completed(ids, timeout_s=60))) == 4
    app.close()


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"IMAGEFLEET_MODEL_SOURCE": ""}, 78, "IMAGEFLEET_MODEL_SOURCE"),
        ({"IMAGEFLEET_MODEL_SOURCE": "/nowhere", "IMAGEFLEET_MODEL_REVISION": "0" * 40}, 71, "/nowhere"),
        ({"IMAGEFLEET_STORAGE_BUCKET": ""}, 78, "IMAGEFLEET_STORAGE_BUCKET"),
        ({"IMAGEFLEET_STORAGE_BUCKET": "no-such-bucket"}, 72, "no-such-bucket"),
        ({"IMAGEFLEET_REDIS_URL": "redis://127.0.0.1:1/0"}, 69, "127.0.0.1:1"),
        ({"IMAGEFLEET_LEASE_DURATION_S": "soon"}, 78, "IMAGEFLEET_LEASE_"),
        ({"IMAGEFLEET_MODEL_DEFAULT_SIZE": "68x68"}, 78, "IMAGEFLEET_MODEL_DEFAULT_"),
        ({"IMAGEFLEET_MODEL_CHECKER": "nowhere:check"}, 78, "IMAGEFLEET_MODEL_CHECKER"),
        ({"IMAGEFLEET_PROVENANCE_C2PA_KEY_FILE": "/nowhere"}, 78, "IMAGEFLEET_PROVENANCE_C2PA_KEY_FILE"),
    ],
    ids=[
        "no model",
        "model not there",
        "no bucket",
        "bucket not there",
        "no redis",
        "setting",
        "size",
        "checker",
        "key",
    ],
)
def test_a_worker_that_cannot_work_says_why_and_ends(
    fleet: Fleet, change: dict[str, str], code: int, sentence: str
) -> None:
    """With a code of its own and one sentence, before it takes any job, and before it imports torch if it can."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "celery",
        "-A",
        "imagefleet_worker.app",
        "worker",
        "-n",
        "broken@%h",
    ]
    env = {**clean_environment(), **fleet.environment(change), "HF_HUB_OFFLINE": "1"}

    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=False)

    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("imagefleet: ")]
    assert code == ended.returncode, ended.stderr
    assert sentence in line
    assert bool(re.search(r"\| +torch$", ended.stderr, re.MULTILINE)) == (sentence == "/nowhere")


def test_sigterm_lets_the_running_job_end(fleet: Fleet, client: Client, tmp_path: Path) -> None:
    """A drained worker ends with 0 and leaves nothing behind."""
    other = fleet.worker("draining", env={"IMAGEFLEET_MODEL_ALIAS": "drain"})
    job_id = client.submit("a cat", model="drain", width=64, height=64, steps=100)
    wait_until(lambda: client.get(job_id).progress, 30)

    os.kill(other.pid, 15)

    assert client.result(job_id, timeout_s=60).status == JobStatus.SUCCEEDED
    assert wait_until(lambda: other.exit_code is not None and (other.exit_code + 1), 30) - 1 == 0
    with fleet.raw() as raw:
        assert raw.zcard(Keys().leases) == 0
