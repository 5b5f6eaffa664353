"""Checks of what happens to jobs: what one gets that leaves everything open, and who looks at its images."""

import time

from PIL import Image
from pydantic import JsonValue

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.defaults import check_defaults
from imagefleet_worker.diffusion.image_checker import load_checker
from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, ok, skipped, warning


def check_checker(context: CheckContext) -> CheckResult:
    """Whether the checker of IMAGEFLEET_MODEL_CHECKER can be called, and says something of a grey test image.

    Raises:
        SettingsInvalid, CheckerFailed: where it does not.
    """
    name = context.settings.model.checker
    checker = load_checker(context.settings.model)
    if checker is None:
        return skipped("IMAGEFLEET_MODEL_CHECKER is not set")
    begin = time.perf_counter()
    (verdict,) = checker.check([Image.new("RGB", (64, 64), "grey")], GenerationJob(prompt="a grey test image"))
    seconds = round(time.perf_counter() - begin, 3)
    facts: dict[str, JsonValue] = {"flagged": verdict.flagged, "labels": verdict.labels, "seconds": seconds}
    if verdict.flagged:
        return warning(f"{name} flags a grey test image, so it may flag every image: look at what it does", **facts)
    return ok(f"{name} has looked at a test image in {seconds:.3g} s", **facts)


def defaults(context: CheckContext) -> CheckResult:
    """What a job gets that has nothing but a prompt, and whether the model makes that.

    Raises:
        SettingsInvalid, ModelUnavailable: where each such job would fail.
    """
    engine = context.engine
    job = check_defaults(engine, context.settings.limits)
    own = getattr(engine.pipe, "scheduler", None)  # Kandinsky 2.2 has two, in pipelines of its own
    scheduler = type(own).__name__ if own is not None else "a scheduler of its own"
    facts: dict[str, JsonValue] = {
        "size": f"{job.width}x{job.height}",
        "steps": job.steps,
        "guidance_scale": job.guidance_scale,
        "scheduler": scheduler,
    }
    guidance = "" if job.guidance_scale is None else f", guidance_scale {job.guidance_scale:g}"
    sentence = f"a job that leaves all open gets {job.width}x{job.height}, {job.steps} steps{guidance}, {scheduler}"
    found = engine.finder.foresee(job, record=None)
    if found:
        return warning(f"{sentence}; {'; '.join(each.message for each in found)}", **facts)
    return ok(sentence, **facts)
