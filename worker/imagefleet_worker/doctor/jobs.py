"""The jobs with which the engine is examined."""

from typing import Any

from imagefleet.jobs import GenerationJob
from imagefleet_worker.doctor.subject import Subject

#: Of different lengths: text that is padded to a joined row must not change an image.
_PROMPTS = ("a red fox", "a lighthouse at dusk, oil on canvas, wide brush strokes", "tram", "seven green apples, photo")


def alike(subject: Subject, count: int, *, steps: int | None = None) -> list[GenerationJob]:
    """*count* jobs that can share all their forwards, ready for the engine; their seeds are 0, 1, ..."""
    asked = _shape(subject)
    asked["steps"] = steps or asked["steps"]
    return [_checked(subject, seed, asked) for seed in range(count)]


def different(subject: Subject, count: int, *, steps: int) -> list[GenerationJob]:
    """As `alike`, with steps from *steps* on and guidance that differ, where the model has one."""
    made: list[GenerationJob] = []
    for seed in range(count):
        job = _checked(subject, seed, {**_shape(subject), "steps": steps + seed % 3})
        guidance = None if job.guidance_scale is None else job.guidance_scale * (1 + 0.1 * seed)
        made.append(job.model_copy(update={"guidance_scale": guidance}))
    return made


def _checked(subject: Subject, seed: int, asked: dict[str, Any]) -> GenerationJob:
    job = GenerationJob(prompt=_PROMPTS[seed % len(_PROMPTS)], seed=seed, **asked)
    return subject.engine.check(job)


def _shape(subject: Subject) -> dict[str, Any]:
    asked: dict[str, Any] = {"steps": subject.steps}
    if subject.size:
        width, height = subject.size.split("x")
        asked |= {"width": int(width), "height": int(height)}
    return asked
