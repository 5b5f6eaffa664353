"""The warning finder: what is not as a job asks for, before its images are made and after."""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from pydantic import JsonValue

from imagefleet.contract.job_warnings import JobWarning, WarningCode
from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.calibration_record import CalibrationRecord
from imagefleet_worker.diffusion.images import SeenOfRun
from imagefleet_worker.diffusion.observed_tokenizers import TokenizedText
from imagefleet_worker.diffusion.pipeline_traits import PipelineTraits
from imagefleet_worker.diffusion.prompt_texts import PromptTexts
from imagefleet_worker.diffusion.schedulers import Schedulers
from imagefleet_worker.diffusion.strict_jobs import refuse_if_strict


class WarningFinder:
    """Finds the warnings of jobs of *pipe*; called by the jobs' own threads."""

    def __init__(self, pipe: Any, traits: PipelineTraits, schedulers: Schedulers) -> None:
        self._name = type(pipe).__name__
        self._traits = traits
        self._schedulers = schedulers
        self._texts = PromptTexts(pipe)

    def foresee(self, job: GenerationJob, *, record: CalibrationRecord | None) -> list[JobWarning]:
        """What is known of *job*, as it was sent, before the device is used; *record* is what the warm-up found.

        Raises:
            JobRejected: if its scheduler cannot do what it asks for.
        """
        found: list[JobWarning] = []
        if self._schedulers.are_ignored:
            found += self._ignored_scheduler(job)
        elif job.steps is not None:
            found += _other_steps(job, self._schedulers.steps_of(job, default_steps=self._traits.default_steps))
        if record is not None and record.has_guidance is False:
            found += self._ignored_guidance(job)
        if record is not None and record.joining is not None and not record.joining.is_proved:
            found.append(_joining_refused(record.joining.reason))
        return found

    def check_texts(self, job: GenerationJob) -> Callable[[Sequence[TokenizedText]], None]:
        """What ends the run of *job*, which is strict, with NotAsAsked if its texts were not read as they are."""
        return lambda seen: refuse_if_strict(job, self._texts.warnings(job, seen))

    def check_scheduler(self, job: GenerationJob) -> None:
        """Find out whether the scheduler of *job*, whose steps are set, can make them. Raises as `foresee`."""
        if not self._schedulers.are_ignored:
            self._schedulers.steps_of(job, default_steps=self._traits.default_steps)

    def of_images(
        self, job: GenerationJob, images: Sequence[Image.Image], seen: SeenOfRun, *, first: int
    ) -> list[JobWarning]:
        """What is not as asked for in *images*; *first* is the number of the first. Size and steps of *job* are set."""
        found = self._texts.warnings(job, seen.texts, is_unguided=seen.is_unguided)
        if not seen.scheduler.has_begun:
            found += self._ignored_scheduler(job)
        elif seen.scheduler.steps is not None and job.steps is not None:
            found += _other_steps(job, seen.scheduler.steps)
        found += [_flagged(first + index) for index, is_flagged in enumerate(seen.flagged) if is_flagged]
        return found + [each for index, image in enumerate(images, first) for each in _other_size(job, image, index)]

    def _ignored_scheduler(self, job: GenerationJob) -> list[JobWarning]:
        asked: dict[str, Any] = {"scheduler": job.scheduler, "scheduler_options": job.scheduler_options}
        sentence = f"{self._name} uses a scheduler of its own, whatever it is given; leave it out"
        return [_without_effect(field, sentence) for field, value in asked.items() if value]

    def _ignored_guidance(self, job: GenerationJob) -> list[JobWarning]:
        if job.guidance_scale is None or (job.negative_prompt and self._traits.negative_guidance):
            return []
        sentence = "this model makes the same image with any, as distilled models do; leave it out"
        return [_without_effect("guidance_scale", sentence, guidance_scale=job.guidance_scale)]


def _without_effect(field: str, sentence: str, **detail: Any) -> JobWarning:
    code = WarningCode.FIELD_WITHOUT_EFFECT
    return JobWarning(code=code, field=field, message=f"{field}: {sentence}", detail=detail)


def _other_steps(job: GenerationJob, made: int) -> list[JobWarning]:
    if made == job.steps:
        return []
    sentence = f"steps: the scheduler makes {made} where {job.steps} were asked for"
    detail: dict[str, JsonValue] = {"asked": job.steps, "made": made}
    return [JobWarning(code=WarningCode.STEPS_CHANGED, field="steps", message=sentence, detail=detail)]


def _other_size(job: GenerationJob, image: Image.Image, index: int) -> list[JobWarning]:
    asked, made = f"{job.width}x{job.height}", f"{image.width}x{image.height}"
    if made == asked:
        return []
    sentence = f"image {index}: the pipeline made {made} pixels where {asked} were asked for"
    code = WarningCode.SIZE_CHANGED
    return [JobWarning(code=code, image=index, message=sentence, detail={"asked": asked, "made": made})]


def _flagged(index: int) -> JobWarning:
    return JobWarning(
        code=WarningCode.IMAGE_FLAGGED,
        image=index,
        message=f"image {index}: the model's safety checker has flagged it, and made it black",
        detail={"checker": "model"},
    )


def _joining_refused(reason: str) -> JobWarning:
    return JobWarning(
        code=WarningCode.JOINING_REFUSED,
        message=f"jobs of this model are made one at a time: {reason}",
        detail={"reason": reason},
    )
