"""The pipeline of the parts, and how it is written for others."""

from pathlib import Path
from typing import Any

import diffusers
import torch

from demomodel import models
from demomodel.captions import vocabulary
from demomodel.words import tokenizer


def assemble() -> Any:
    """A Stable Diffusion pipeline with random weights."""
    words = tokenizer(vocabulary())
    return diffusers.StableDiffusionPipeline(
        vae=models.autoencoder(),
        text_encoder=models.text_encoder(words),
        tokenizer=words,
        unet=models.denoiser(),
        scheduler=models.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save(pipe: Any, folder: Path) -> None:
    """Write *pipe* in half precision to *folder*, readable by all users."""
    pipe.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    pipe.to(torch.float32)
    share(folder)


def share(folder: Path) -> None:
    """Let all users read what is in *folder*: safetensors files are written for their owner only."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
