"""Jobs that differ in everything in which jobs can differ and still share a model."""

from imagefleet.contract.jobs import GenerationJob

PROMPTS = ("a red fox", "a blue whale at night", "cat", "seven green apples on a table", "dog")
_SCHEDULERS = (None, "EulerDiscreteScheduler", None, "DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
_GUIDANCE = (7.5, 3.0, 12.0, 5.0)
SIDE = 64


def mixed_jobs(family: str, count: int, *, least_steps: int = 2, most_steps: int = 8) -> list[GenerationJob]:
    """*count* jobs with steps spread from *least_steps* to *most_steps*, for the tiny pipeline of *family*.

    Their seeds are 0, 1, ...; guidance, prompts, negative prompts and schedulers vary as far as the family has them.
    """
    spread = most_steps - least_steps
    has_negative = family != "flux2-klein"
    has_schedulers = family in {"sd", "sdxl"}
    return [
        GenerationJob(
            prompt=PROMPTS[i % len(PROMPTS)],
            negative_prompt="ugly" if has_negative and i % 3 else None,
            width=SIDE,
            height=SIDE,
            steps=least_steps + (i * 7919) % (spread + 1),
            guidance_scale=_GUIDANCE[i % len(_GUIDANCE)],
            scheduler=_SCHEDULERS[i % len(_SCHEDULERS)] if has_schedulers else None,
            seed=i,
        )
        for i in range(count)
    ]
