"""What whoever downloads an image learns of how it was made."""

import pytest

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.jobs.embedded_parameters import embedded_parameters
from imagefleet_worker.settings import EncodingSettings

JOB = GenerationJob.parse(
    {
        "prompt": "a dog",
        "steps": 4,
        "seed": 7,
        "group": "calendar",
        "tenant": "acme",
        "metadata": {"order": 1},
        "webhook": {"url": "https://hooks.example.com/secret"},
        "deadline": "2031-01-01T00:00:00Z",
    }
)


def test_the_parameters_say_what_makes_the_image_again_and_nothing_of_the_customer() -> None:
    told = embedded_parameters(JOB, EncodingSettings(), model="sdxl", revision="abc")

    assert told == {"prompt": "a dog", "steps": 4, "model": "sdxl", "model_revision": "abc"}


@pytest.mark.parametrize(
    ("job", "encoding"),
    [
        (JOB, EncodingSettings(embed_parameters=False)),
        (JOB.model_copy(update={"embed": False}), EncodingSettings()),
    ],
    ids=["the setting", "the job"],
)
def test_nothing_is_told_if_the_setting_or_the_job_says_so(job: GenerationJob, encoding: EncodingSettings) -> None:
    assert embedded_parameters(job, encoding, model="sdxl", revision="abc") == {}


def test_the_options_of_a_scheduler_are_told() -> None:
    """Without them the image cannot be made again."""
    job = JOB.model_copy(
        update={"scheduler": "EulerDiscreteScheduler", "scheduler_options": {"use_karras_sigmas": True}}
    )

    told = embedded_parameters(job, EncodingSettings(), model="sdxl", revision=None)

    assert told["scheduler_options"] == {"use_karras_sigmas": True}
