"""Defaults: the job that a worker makes of one that leaves its size, steps and guidance open."""

from typing import TYPE_CHECKING

from imagefleet.contract.jobs import GenerationJob, JobLimits
from imagefleet.errors import ImageFleetError, SettingsInvalid

if TYPE_CHECKING:
    from imagefleet_worker.diffusion.engine import Engine


def within_limits(job: GenerationJob, limits: JobLimits) -> GenerationJob:
    """*job* once more, now that nothing in it is left open: a default is bound by the same limits.

    Raises:
        InvalidJob: With everything that is above them.
    """
    return GenerationJob.parse(dict(job), limits=limits)


def check_defaults(engine: "Engine", limits: JobLimits) -> GenerationJob:
    """What a job becomes that has nothing but a prompt.

    Raises:
        SettingsInvalid: If each such job would fail.
    """
    try:
        return within_limits(engine.check(GenerationJob(prompt="a job with nothing but a prompt")), limits)
    except ImageFleetError as error:
        raise SettingsInvalid(
            f"jobs that leave their size, steps and guidance open would all fail: {error.message}. "
            "Set IMAGEFLEET_MODEL_DEFAULT_SIZE, _STEPS, _GUIDANCE_SCALE or IMAGEFLEET_LIMIT_* so that they fit together"
        ) from error
