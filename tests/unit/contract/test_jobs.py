"""What a job may be, and what the producer says of one that may not."""

import json
import math
from typing import Any

import pytest

from imagefleet.contract.jobs import MAX_SEED, GenerationJob, JobLimits, Webhook, WebhookEvent, to_wire
from imagefleet.errors import InvalidJob


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 10_001}, "prompt: has 10,001 characters"),
        ({"prompt": None}, "prompt"),
        ({"steps": 0}, "steps"),
        ({"steps": 10_000}, "steps: is 10,000, at most 200"),
        ({"steps": 2.5}, "steps"),
        ({"width": 100}, "width"),
        ({"width": 4104}, "width: is 4,104"),
        ({"width": 4096, "height": 4096}, "width x height"),
        ({"guidance_scale": math.nan}, "guidance_scale"),
        ({"guidance_scale": math.inf}, "guidance_scale"),
        ({"seed": -1}, "seed"),
        ({"seed": MAX_SEED, "num_images": 2}, "seed: the last image's seed"),
        ({"num_images": 17}, "num_images: is 17"),
        ({"format": "gif"}, "format"),
        ({"quality": 50}, "quality: PNG has none"),
        ({"priority": 10}, "priority"),
        ({"model": "Big Model"}, "model"),
        ({"deadline": "2030-01-01T00:00:00"}, "deadline"),
        ({"deadline": 30}, "deadline: 30 is a number, which would be seconds since 1970"),
        ({"deadline": 1e9}, "deadline: 1000000000.0 is a number"),
        ({"deadline": "30"}, "deadline: 30 is a number"),
        ({"version": 2}, "version"),
        ({"webhook": {"url": "ftp://example.com"}}, "webhook.url"),
        ({"webhook": {"url": "http://example.com:9/"}}, "webhook.url: port 9 is not allowed: 80, 443, or 1024"),
        ({"webhook": {"url": "https://a:b@example.com/"}}, "webhook.url: the URL must not hold a user or a password"),
        ({"webhook": {"url": "https://example.com:x/"}}, "webhook.url: the URL cannot be read"),
        ({"webhook": {"url": "https://bücher.example/"}}, "webhook.url: the URL has characters that a URL cannot have"),
        ({"webhook": {"url": "https://example.com", "events": ["job.started"]}}, "webhook.events.0"),
        ({"metadata": {"blob": "x" * 5000}}, "metadata: takes"),
        ({"scheduler": "os.system"}, "scheduler"),
        ({"scheduler_options": {"__class__": 1}}, "scheduler_options"),
        ({"scheduler_options": {f"o{i}": 1 for i in range(33)}}, "scheduler_options"),
        ({"strict": "maybe"}, "strict"),
        ({"promt": "a typo"}, "promt: there is no such field; did you mean prompt?"),
        ({"setps": 4}, "setps: there is no such field; did you mean steps?"),
        ({"webhook": {"ulr": "https://example.com"}}, "webhook.ulr: there is no such field; did you mean url?"),
        ({"zzz": 1}, "zzz: there is no such field"),
        ({"model": "My_Model"}, "model: must be 1 to 63 lower-case letters, digits or . _ - and begin"),
        ({"tenant": "user@example.com"}, "tenant: must be 1 to 128 letters, digits or . _ : - and begin"),
        ({"group": "a\n"}, "it is 'a\\n'"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        GenerationJob.parse({"prompt": "a dog", **fields})
    assert named in caught.value.message


def test_no_message_has_a_regular_expression() -> None:
    with pytest.raises(InvalidJob) as caught:
        GenerationJob.parse({"prompt": "a", "model": "A", "tenant": "@", "scheduler": "", "webhook": {"url": "x"}})
    assert "pattern" not in caught.value.message
    assert GenerationJob.model_json_schema()["properties"]["model"]["pattern"] == "^[a-z0-9][a-z0-9._-]{0,62}$"


def test_one_message_names_every_bad_field() -> None:
    with pytest.raises(InvalidJob) as caught:
        GenerationJob.parse({"prompt": "", "steps": 0, "colour": "red"})
    assert all(field in caught.value.message for field in ("prompt", "steps", "colour"))


@pytest.mark.parametrize("data", ["not json", "[1]", "null", b"\x80\x04]", 7, None, ["prompt"]])
def test_what_is_no_mapping_is_an_invalid_job(data: object) -> None:
    with pytest.raises(InvalidJob):
        GenerationJob.parse(data)


def test_limits_can_be_wider_and_narrower() -> None:
    assert GenerationJob.parse({"prompt": "x", "steps": 500}, limits=JobLimits(max_steps=500)).steps == 500
    with pytest.raises(InvalidJob):
        GenerationJob.parse({"prompt": "x", "steps": 5}, limits=JobLimits(max_steps=4))


def test_a_job_survives_the_wire() -> None:
    """Leaving out defaults changes nothing, and every value is JSON."""
    job = GenerationJob(
        prompt="a dog",
        seed=MAX_SEED,
        format="webp",  # type: ignore[arg-type]
        quality=70,
        webhook=Webhook(url="https://example.com/hook", events=(WebhookEvent.FAILED,)),
        metadata={"a": [1, None, {"b": True}]},
    )
    assert GenerationJob.parse(json.dumps(to_wire(job))) == job


def test_the_wire_form_has_its_version_and_no_defaults() -> None:
    assert to_wire(GenerationJob(prompt="a dog")) == {"version": 1, "prompt": "a dog"}
