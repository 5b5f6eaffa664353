"""Training of the UNet, and of the text encoder with it, to remove noise from latents."""

import copy
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import diffusers
import torch
from torch import Tensor

from demomodel.captions import caption
from demomodel.latents import Shelf, shelf
from demomodel.training import Plan, train

PLAN: Final = Plan(steps=3900, cool_down=1300, rate=1e-3, warm_up=200)
#: The share of prompts that are left empty, for classifier-free guidance.
_EMPTY: Final = 0.1


class Size(NamedTuple):
    """A size of pictures: how many there are, and how many a step takes."""

    width: int
    height: int
    count: int
    batch: int


#: The first steps see one size, the later ones another at each second step.
_ONE_SIZE: Final = 2000
_SQUARE: Final = Size(64, 64, 6720, 32)
_OTHERS: Final = (Size(128, 128, 672, 8), Size(96, 96, 672, 14), Size(128, 64, 672, 16), Size(64, 128, 672, 16))


class Conditioned:
    """The loss of a UNet that reads the prompts of a text encoder."""

    def __init__(self, unet: Any, text_encoder: Any, tokenizer: Any, scheduler: Any) -> None:
        self._unet = unet
        self._text_encoder = text_encoder
        self._tokenizer = copy.deepcopy(tokenizer)  # it remembers how it was asked to fill up texts
        self._noise = diffusers.DDPMScheduler.from_config(scheduler.config)
        self._levels: int = scheduler.config.num_train_timesteps

    def loss(self, latents: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
        """The mean squared error of the velocity, at levels of noise that are spread evenly."""
        count = len(latents)
        noise = torch.randn(latents.shape, generator=generator)
        spread = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        levels = (spread * self._levels).long()
        noisy = self._noise.add_noise(latents, noise, levels)
        wanted = self._noise.get_velocity(latents, noise, levels)
        return (self._unet(noisy, levels, self._embeddings(prompts)).sample - wanted).square().mean()

    def _embeddings(self, prompts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
        return self._text_encoder(tokens.input_ids)[0]


def train_denoiser(pipe: Any, folder: Path) -> None:
    """Train the UNet and the text encoder of *pipe*, whose VAE is trained already."""
    shelves = {
        size: shelf(pipe.vae, folder, width=size.width, height=size.height, count=size.count)
        for size in (_SQUARE, *_OTHERS)
    }
    conditioned = Conditioned(pipe.unet, pipe.text_encoder, pipe.tokenizer, pipe.scheduler)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        size = _size(step)
        return conditioned.loss(*batch(shelves[size], size.batch, step), generator)

    train("unet", {"unet": pipe.unet, "text": pipe.text_encoder}, loss, PLAN, folder)


def _size(step: int) -> Size:
    turn, rest = divmod(step, 2)
    return _OTHERS[turn % len(_OTHERS)] if step >= _ONE_SIZE and rest == 0 else _SQUARE


def batch(scenes: Shelf, count: int, step: int) -> tuple[Tensor, list[str]]:
    """Latents for *step* by chance, each with a prompt for it."""
    random = Random(f"batch {step}")
    chosen = random.sample(range(len(scenes.scenes)), count)
    prompts = ["" if random.random() < _EMPTY else caption(scenes.scenes[n], random) for n in chosen]
    return scenes.latents[chosen], prompts
