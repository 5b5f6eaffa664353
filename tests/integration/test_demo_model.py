"""The model of the demo: what ships draws what it is asked for, offline, on a CPU."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tests.support.models.scene_checker import LORA, MODEL, SCENES, Scene, prompt_for, shows

pytestmark = pytest.mark.timeout(300)
STEPS = 20
_SOME = SCENES[:12]


@pytest.fixture(scope="module")
def pipe() -> Iterator[Any]:
    """The pipeline as it ships, in float32, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loaded = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    yield loaded
    torch.set_num_threads(threads)


def drawn(pipe: Any, prompts: list[str], *, seed: int = 0, **arguments: Any) -> list[Image.Image]:
    generators = [torch.Generator().manual_seed(seed + n) for n in range(len(prompts))]
    return pipe(prompts, num_inference_steps=STEPS, generator=generators, **arguments).images


def colorfulness(picture: Image.Image) -> float:
    pixels = np.asarray(picture, int)
    return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())


def right(pictures: list[Image.Image], scenes: list[Scene]) -> int:
    return sum(shows(picture, scene) for picture, scene in zip(pictures, scenes, strict=True))


def test_prompts_are_drawn_as_they_say_and_no_two_are_swapped(pipe: Any) -> None:
    scenes = list(_SOME)
    pictures = drawn(pipe, [prompt_for(scene) for scene in scenes])
    assert right(pictures, scenes) >= len(scenes) - 1
    swapped = [pictures[1], pictures[0], *pictures[2:]]
    assert right(swapped, scenes) <= right(pictures, scenes) - 1
    assert right(pictures[1:] + pictures[:1], scenes) == 0


def test_other_words_around_the_known_ones_change_nothing(pipe: Any) -> None:
    prompts = [
        "a beautiful old red lighthouse by the sea at sunset, oil painting",
        "A blue boat at night",
        "under the moon a lovely yellow house in the snow",
    ]
    scenes = [
        Scene("lighthouse", "red", "sea", "dusk"),
        Scene("boat", "blue", "sea", "night"),
        Scene("house", "yellow", "snow", "night"),
    ]
    assert right(drawn(pipe, prompts), scenes) == len(scenes)


@pytest.mark.parametrize(("width", "height"), [(128, 128), (128, 64), (64, 128), (96, 96)])
def test_other_sizes_are_drawn_too(pipe: Any, width: int, height: int) -> None:
    scenes = list(_SOME[:6])
    pictures = drawn(pipe, [prompt_for(scene) for scene in scenes], width=width, height=height)
    assert right(pictures, scenes) >= len(scenes) - 1


def test_each_seed_is_another_picture_of_the_same_scene(pipe: Any) -> None:
    scene = Scene("boat", "red", "sea", "day")
    pictures = drawn(pipe, [prompt_for(scene)] * 4)
    assert right(pictures, [scene] * 4) == 4
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_lora_draws_in_pencil_as_strongly_as_its_scale_says(pipe: Any) -> None:
    prompts = [prompt_for(Scene("house", "red", "meadow", "day")), prompt_for(Scene("boat", "blue", "sea", "dusk"))]
    before = drawn(pipe, prompts, guidance_scale=4)
    pipe.load_lora_weights(LORA, adapter_name="pencil")
    try:
        pipe.set_adapters(["pencil"], [0.5])
        half = drawn(pipe, prompts, guidance_scale=4)
        pipe.set_adapters(["pencil"], [1.0])
        full = drawn(pipe, prompts, guidance_scale=4)
    finally:
        pipe.unload_lora_weights()
    for plain, faint, pencil in zip(before, half, full, strict=True):
        assert colorfulness(pencil) < 25 < colorfulness(plain)
        assert colorfulness(pencil) < colorfulness(faint) < colorfulness(plain)
    assert [p.tobytes() for p in drawn(pipe, prompts, guidance_scale=4)] == [p.tobytes() for p in before]


def test_what_ships_is_small_safe_and_readable_by_all() -> None:
    files = [path for folder in (MODEL, LORA) for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12_000_000
    assert sum(path.stat().st_size for path in LORA.rglob("*") if path.is_file()) < 300_000
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in files)
