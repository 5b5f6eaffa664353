"""Training of the VAE on pictures of all sizes, a fifth of them in pencil."""

from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import torch
from torch import Tensor, nn

from demomodel.head_start import SCALE
from demomodel.models import FACTOR
from demomodel.pencil import sketch
from demomodel.pictures import to_strip, to_tensor
from demomodel.scenes import draw, samples
from demomodel.training import Plan, train

PLAN: Final = Plan(steps=1600, cool_down=1600, rate=1e-3, weight_decay=0.0)
#: How strongly the means of latents are drawn to zero: the divergence from a unit normal where the variance is fixed.
_PULL: Final = 1e-3
#: How strongly three channels are drawn to the colors of the picture made small: colors are learned early so.
_HINT: Final = 0.2
_COLORS: Final = 3
#: (width, height, pictures) of the steps, in turn.
_BATCHES: Final = ((64, 64, 6), (64, 64, 6), (64, 64, 6), (128, 128, 2))


def train_autoencoder(vae: Any, folder: Path) -> None:
    """Train *vae* and set its scaling factor; a strip of pictures, and of what became of them, goes to *folder*."""
    train("vae", {"vae": vae}, partial(_loss, vae), PLAN, folder)
    vae.eval().requires_grad_(requires_grad=False)
    with torch.no_grad():
        pictures = torch.cat([batch(PLAN.steps + n) for n in range(0, 160, len(_BATCHES))])
        latents = torch.cat([vae.encode(some).latent_dist.mean for some in pictures.split(16)])
        vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
        back = vae.decode(latents[:16]).sample
    to_strip(torch.cat([pictures[:16], back], dim=2)).save(folder / "vae.png")


def _loss(vae: Any, step: int, generator: torch.Generator) -> Tensor:
    wanted = batch(step)
    latents = vae.encode(wanted).latent_dist
    noise = torch.randn(latents.mean.shape, generator=generator)
    made = vae.decode(latents.mean + latents.std.detach() * noise).sample
    small = nn.functional.avg_pool2d(wanted, FACTOR)
    hint = (latents.mean[:, :_COLORS] - SCALE * small).square().mean()
    return _difference(made, wanted) + _HINT * hint + _PULL * latents.mean.square().mean()


def batch(step: int) -> Tensor:
    """The pictures of *step*."""
    width, height, count = _BATCHES[step % len(_BATCHES)]
    random = Random(step)
    pictures = [draw(*each, width=width, height=height) for each in samples(random, count)]
    return to_tensor([sketch(p) if random.random() < 0.2 else p for p in pictures])


def _difference(made: Tensor, wanted: Tensor) -> Tensor:
    """The mean difference of the pixels, and of the steps between neighbours: edges stay sharp."""
    total = (made - wanted).abs().mean()
    for axis in (2, 3):
        total = total + 0.5 * (made.diff(dim=axis) - wanted.diff(dim=axis)).abs().mean()
    return total
