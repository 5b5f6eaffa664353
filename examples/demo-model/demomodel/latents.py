"""Pictures as the VAE's latents, made once and kept in a file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from demomodel.pictures import to_tensor
from demomodel.scenes import Scene, draw, samples

_AT_ONCE: Final = 32


class Shelf(NamedTuple):
    """Scenes of one size: `latents` is (N, 4, height / 4, width / 4), scaled to a variance of about one."""

    scenes: Sequence[Scene]
    latents: Tensor


def shelf(
    vae: Any,
    folder: Path,
    *,
    width: int,
    height: int,
    count: int,
    style: Callable[[Image.Image], Image.Image] = lambda picture: picture,
    name: str = "plain",
) -> Shelf:
    """*count* scenes of a size in a *style*, from the file in *folder* where an earlier run made them."""
    path = folder / f"{name}-{width}x{height}.latents"
    placed = list(samples(Random(f"{name} {width} {height}"), count))
    if path.exists():
        latents = torch.load(path, weights_only=True)
    else:
        parts: list[Tensor] = []
        for first in range(0, count, _AT_ONCE):
            pictures = [style(draw(*each, width=width, height=height)) for each in placed[first : first + _AT_ONCE]]
            with torch.no_grad():
                parts.append(vae.encode(to_tensor(pictures)).latent_dist.mean * vae.config.scaling_factor)
        latents = torch.cat(parts)
        torch.save(latents, path)
    return Shelf([scene for scene, _ in placed], latents)
