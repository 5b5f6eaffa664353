"""Pictures as tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """*pictures* of one size as (N, 3, height, width) from -1 to 1."""
    stacked = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_strip(pictures: Tensor) -> Image.Image:
    """(N, 3, height, width) from -1 to 1 as one picture, side by side."""
    values = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return Image.fromarray(np.concatenate(list(values), axis=1))
