"""The jobs of the storm, and the images that they must give."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.support.models.scene_checker import SCENES, prompt_for, shows

from imagefleet import GenerationJob, Webhook
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.settings import EngineSettings, ModelSettings

SIDE = 64
_KINDS = 40
#: Two ways to add up the same floats may round a pixel to either side.
_TOLERANCE = 1

Pixels = np.ndarray[Any, np.dtype[np.int16]]

_TENANTS = (None, "a", "b")


def storm_jobs(count: int, *, webhook_url: str | None = None) -> list[GenerationJob]:
    """*count* jobs of 40 kinds, each a scene that the demo's model draws, of three tenants: 12 to 20 steps."""
    webhook = Webhook(url=webhook_url) if webhook_url else None
    return [
        GenerationJob(
            prompt=prompt_for(SCENES[kind]),
            seed=kind,
            steps=12 + (kind * 7) % 9,
            width=SIDE,
            height=SIDE,
            webhook=webhook,
            metadata={"kind": kind},
            tenant=_TENANTS[kind % len(_TENANTS)],
        )
        for kind in (number % _KINDS for number in range(count))
    ]


def references(model: Path, jobs: list[GenerationJob]) -> dict[int, Pixels]:
    """The image of each kind of job, made alone in this process; by the job's seed.

    Raises:
        ValueError: if an image does not show what its prompt says.
    """
    engine = Engine.load(
        ModelSettings(source=str(model), default_size=f"{SIDE}x{SIDE}"),
        EngineSettings.model_validate({"mode": "off", "threads": 1}),
    )
    kinds = {job.seed: job for job in jobs if job.seed is not None}
    made = {seed: engine.render(engine.check(job), seed=seed, on_step=_ignore)[0] for seed, job in kinds.items()}
    engine.close()
    if strange := [seed for seed, image in made.items() if not shows(image, SCENES[seed])]:
        raise ValueError(f"the model draws something else than the prompts of {strange}")
    return {seed: np.asarray(image, dtype=np.int16) for seed, image in made.items()}


def is_wrong(file: bytes, *, seed: int, expected: Mapping[int, Pixels]) -> bool:
    """Whether an image shows another scene, or differs from the one made alone by more than 1 of 255 anywhere."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    pixels, wanted = np.asarray(image, dtype=np.int16), expected[seed]
    if not shows(image, SCENES[seed]):
        return True
    return pixels.shape != wanted.shape or bool((np.abs(pixels - wanted) > _TOLERANCE).any())


def _ignore(done: int, total: int) -> None:
    del done, total
