"""The proof of joining: whether this model, on this device, makes the same images of jobs alone and together."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.pipeline_traits import PipelineTraits

#: In float32: of 255. A larger forward adds up in another order.
_TOLERANCE: Final = 1
#: In shorter formats, as a part of the mean difference between images of different seeds. Tiny models that join well
#: had at most 0.004 in bfloat16; with outputs mixed up between jobs at each of three steps it was 0.2.
FAR: Final = 0.05
#: Of different lengths: text that is padded to a joined row must not change an image.
PROMPTS: Final = (
    "a red fox",
    "a lighthouse at dusk, oil on canvas, wide brush strokes",
    "tram",
    "seven green apples, photo",
)
#: Index of the prompt, steps and images of each job. Two share a prompt: some models join only texts of one length.
_JOBS: Final = ((0, 3, 1), (1, 2, 2), (2, 4, 1), (0, 3, 1))

Pixels = np.ndarray[Any, np.dtype[np.int16]]


class JoiningProof(BaseModel):
    """What was found when jobs were made alone and then together."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    is_proved: bool
    """Whether jobs may be joined."""
    reason: str = ""
    """Why not, as a part of a sentence; empty if it is proved."""
    max_difference: int = 0
    """The largest difference of a value between an image alone and joined, of 255."""
    share: float = 0.0
    """The mean difference, as a part of the mean difference between images of different seeds."""


def proof_jobs(side: int, traits: PipelineTraits) -> list[GenerationJob]:
    """A few small jobs that differ in prompt, seed, steps, number of images and, if there is one, guidance."""
    guidance = (traits.default_guidance or 5.0) if traits.guidance else None
    return [
        GenerationJob(
            prompt=PROMPTS[prompt],
            width=side,
            height=side,
            steps=steps,
            num_images=count,
            seed=100 * i + 1,
            guidance_scale=None if guidance is None else round(guidance * (1 + 0.2 * i), 2),
        )
        for i, (prompt, steps, count) in enumerate(_JOBS)
    ]


def compare(alone: Sequence[Pixels], joined: Sequence[Pixels], *, is_exact: bool, is_float32: bool) -> JoiningProof:
    """Judge images of the same jobs, each an array of (count, height, width, 3).

    *is_exact* asks for the same bits. In float32 no value may differ by more than 1 of 255. In shorter formats larger
    forwards round otherwise, and their mean difference is compared with that between different seeds.
    """
    if [each.shape for each in alone] != [each.shape for each in joined]:
        return JoiningProof(is_proved=False, reason="joined jobs gave another number or size of images")
    differences = [np.abs(one - other) for one, other in zip(alone, joined, strict=True)]
    most = max(int(each.max()) for each in differences)
    mean = float(np.mean([each.mean() for each in differences]))
    share = mean / max(1e-9, _between_seeds(alone))

    def refused(reason: str) -> JoiningProof:
        return JoiningProof(is_proved=False, reason=reason, max_difference=most, share=round(share, 5))

    if (is_exact and most) or (is_float32 and most > _TOLERANCE):
        return refused(f"a joined image differs by {most} of 255")
    if not is_float32 and share > FAR:
        return refused(f"a joined image differs by {share:.1%} of the difference between two seeds")
    return JoiningProof(is_proved=True, max_difference=most, share=round(share, 5))


def pixels_of(images: Sequence[Image.Image]) -> Pixels:
    """The images of one job as numbers that can be subtracted."""
    return np.stack([np.asarray(image.convert("RGB")) for image in images]).astype(np.int16)


def _between_seeds(alone: Sequence[Pixels]) -> float:
    images = np.concatenate(list(alone))
    return float(np.abs(images - np.roll(images, 1, axis=0)).mean())
