"""The reader of scenes: it reads what the drawing script drew, and nothing else passes for it."""

from random import Random

import numpy as np
import pytest
from PIL import Image, ImageFilter
from tests.support.models.scene_checker import SCENES, Scene, read, shows

from demomodel.scenes import draw, place, samples


@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 128), (128, 64), (64, 128)])
def test_drawn_scenes_are_read_as_they_were_meant(width: int, height: int) -> None:
    for scene, spot in samples(Random(5), 12):
        assert read(draw(scene, spot, width=width, height=height)) == scene


def test_blur_and_noise_of_a_model_change_no_reading() -> None:
    noise = np.random.default_rng(0)
    for scene, spot in samples(Random(6), 40):
        picture = draw(scene, spot, width=64, height=64).filter(ImageFilter.GaussianBlur(0.6))
        rough = np.asarray(picture, int) + noise.integers(-12, 13, (64, 64, 3))
        assert read(Image.fromarray(rough.clip(0, 255).astype(np.uint8))) == scene


@pytest.mark.parametrize(
    "other",
    [{"thing": "tree"}, {"color": "orange"}, {"ground": "snow"}, {"time": "night"}],
    ids=lambda each: next(iter(each)),
)
def test_a_picture_of_another_prompt_is_wrong_where_one_word_differs(other: dict[str, str]) -> None:
    for thing in ("house", "boat", "balloon"):
        scene = Scene(thing, "red", "desert", "dusk")
        picture = draw(scene._replace(**other), place(Random(thing)), width=64, height=64)
        assert not shows(picture, scene)


def test_noise_shows_at_most_one_of_the_hundred_scenes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = read(Image.fromarray(pixels))
    assert sum(found == scene for scene in SCENES) <= 1
