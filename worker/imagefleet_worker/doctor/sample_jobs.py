"""The jobs with which the engine is examined."""

from typing import Any, Final

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.doctor.context import CheckContext

#: Of different lengths: text that is padded to a joined row must not change an image.
_PROMPTS: Final = (
    "a red fox",
    "a lighthouse at dusk, oil on canvas, wide brush strokes",
    "tram",
    "seven green apples, photo",
)


def template_job(context: CheckContext) -> GenerationJob:
    """A job of the size and steps that were asked for, as the engine's `check` gives it back.

    Raises:
        WorkerError: where the model cannot be loaded, or not make this size.
    """
    asked: dict[str, Any] = {"steps": context.steps}
    if context.size:
        width, height = context.size.split("x")
        asked |= {"width": int(width), "height": int(height)}
    return context.engine.check(GenerationJob(prompt=_PROMPTS[0], **asked))


def similar(job: GenerationJob, count: int) -> list[GenerationJob]:
    """*count* jobs that can share all their forwards; their seeds are 0, 1, ..."""
    return [job.model_copy(update={"prompt": _PROMPTS[i % len(_PROMPTS)], "seed": i}) for i in range(count)]


def mixed(job: GenerationJob, count: int) -> list[GenerationJob]:
    """As `similar`, and up to two steps more than *job*; guidance differs too, where the model has one."""
    made: list[GenerationJob] = []
    for i, each in enumerate(similar(job, count)):
        guidance = None if each.guidance_scale is None else each.guidance_scale * (1 + 0.1 * i)
        made.append(each.model_copy(update={"steps": (each.steps or 1) + i % 3, "guidance_scale": guidance}))
    return made
