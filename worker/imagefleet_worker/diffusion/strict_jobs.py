"""Strict jobs, which fail instead of being made otherwise than asked for. Without torch: a job's thread asks first."""

from collections.abc import Callable, Sequence

from imagefleet.contract.job_warnings import JobWarning, WarningCode
from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.errors import NotAsAsked


def refuse_if_strict(job: GenerationJob, warnings: Sequence[JobWarning]) -> None:
    """Raise NotAsAsked if *job* is strict, and one of *warnings* is about its images."""
    about_images = [each for each in warnings if not _is_as_asked(each)]
    if job.strict and about_images:
        raise NotAsAsked(unique(about_images))


def _is_as_asked(warning: JobWarning) -> bool:
    """Whether the images are as asked for all the same: made alone, or with an encoder that read the whole prompt."""
    is_read = warning.code == WarningCode.PROMPT_TRUNCATED and bool(warning.detail.get("read_by"))
    return is_read or warning.code == WarningCode.JOINING_REFUSED


def unique(warnings: Sequence[JobWarning]) -> list[JobWarning]:
    """*warnings*, each once: some are found at more than one place, or in each call of the pipeline."""
    return [each for index, each in enumerate(warnings) if each not in warnings[:index]]


def tell_or_refuse(found: Sequence[JobWarning], job: GenerationJob, on_warning: Callable[[JobWarning], None]) -> None:
    """Call *on_warning* with each of *found*, what the images of *job* are not.

    Raises:
        NotAsAsked: if *job* is strict; what a safety checker flags is only told.
    """
    refuse_if_strict(job, [each for each in found if each.code != WarningCode.IMAGE_FLAGGED])
    for warning in unique(found):
        on_warning(warning)
