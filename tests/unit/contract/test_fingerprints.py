"""Which jobs are the same job."""

from datetime import UTC, datetime
from typing import Any

import pytest

from imagefleet.contract.fingerprints import IGNORED, fingerprint_of
from imagefleet.contract.jobs import GenerationJob

JOB = GenerationJob(prompt="a dog", metadata={"a": 1, "b": [2]})
OTHER: dict[str, Any] = {
    "model": "sdxl",
    "prompt": "a cat",
    "negative_prompt": "blurred",
    "width": 512,
    "height": 512,
    "steps": 4,
    "guidance_scale": 2.5,
    "scheduler": "EulerDiscreteScheduler",
    "seed": 7,
    "num_images": 2,
    "format": "webp",
    "priority": 9,
    "deadline": datetime(2031, 1, 1, tzinfo=UTC),
    "group": "g",
    "tenant": "t",
    "presign": True,
    "embed": False,
    "preview_every": 2,
    "webhook": {"url": "https://example.com"},
    "metadata": {"a": 2},
}


@pytest.mark.parametrize("field", OTHER)
def test_a_job_is_another_one_if_it_asks_for_something_else(field: str) -> None:
    """Priority, deadline, previews and presigned URLs may differ from one try to the next."""
    other = GenerationJob.parse({**JOB.model_dump(mode="json"), field: OTHER[field]})

    assert (fingerprint_of(other) == fingerprint_of(JOB)) == (field in IGNORED)


def test_the_fingerprint_is_that_of_the_values_not_of_how_they_are_written() -> None:
    written = '{"metadata": {"b": [2], "a": 1}, "guidance_scale": 7, "prompt": "a dog", "steps": null, "num_images": 1}'

    job = GenerationJob.parse(written)

    assert fingerprint_of(job) == fingerprint_of(JOB.model_copy(update={"guidance_scale": 7.0}))


def test_the_fingerprint_is_a_promise() -> None:
    """Records and manifests of earlier versions hold it."""
    assert fingerprint_of(GenerationJob(prompt="a dog")) == "f08e5b4a15dead3923da31be8da43ccc"
