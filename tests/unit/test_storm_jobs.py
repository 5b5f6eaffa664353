"""What the storm counts as a wrong image."""

import io
from random import Random

import numpy as np
from PIL import Image
from tests.faults.storm.jobs import SIDE, is_wrong
from tests.support.models.scene_checker import SCENES

from demomodel.scenes import draw, place


def picture(number: int) -> Image.Image:
    return draw(SCENES[number], place(Random(1)), width=SIDE, height=SIDE)


def file(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_the_image_of_another_jobs_prompt_is_wrong() -> None:
    """Two jobs of a batch whose outputs were swapped."""
    expected = {seed: np.asarray(picture(seed), np.int16) for seed in (0, 1)}

    assert not is_wrong(file(picture(0)), seed=0, expected=expected)
    assert is_wrong(file(picture(1)), seed=0, expected=expected)
    assert is_wrong(file(picture(0)), seed=1, expected=expected)


def test_a_wrong_scene_is_wrong_whatever_was_expected() -> None:
    """A reference that was swapped as well would hide it."""
    assert is_wrong(file(picture(1)), seed=0, expected={0: np.asarray(picture(1), np.int16)})
