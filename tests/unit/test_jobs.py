"""What a job may be, and what the producer says of one that may not."""

import json
import math
from typing import Any

import pytest

from imagefleet.errors import InvalidJob
from imagefleet.jobs import MAX_SEED, GenerationJob, JobLimits, Webhook, WebhookEvent, as_mapping


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
        ({"version": 2}, "version"),
        ({"webhook": {"url": "ftp://example.com"}}, "webhook.url"),
        ({"webhook": {"url": "https://example.com", "events": ["job.started"]}}, "webhook.events.0"),
        ({"metadata": {"blob": "x" * 5000}}, "metadata: takes"),
        ({"scheduler": "os.system"}, "scheduler"),
        ({"promt": "a typo"}, "promt"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        GenerationJob.parse({"prompt": "a dog", **fields})
    assert named in caught.value.message


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
    assert GenerationJob.parse(json.dumps(as_mapping(job))) == job


def test_the_wire_form_has_its_version_and_no_defaults() -> None:
    assert as_mapping(GenerationJob(prompt="a dog")) == {"version": 1, "prompt": "a dog"}
