"""Training of the LoRA: the UNet learns to draw the same scenes in pencil."""

from pathlib import Path
from typing import Any, Final

import diffusers
import peft
import torch
from torch import Tensor

from demomodel.denoising import Conditioned, batch
from demomodel.latents import shelf
from demomodel.models import SIDE
from demomodel.pencil import sketch
from demomodel.pipeline import share
from demomodel.training import Plan, train

PLAN: Final = Plan(steps=600, cool_down=300, rate=4e-3, warm_up=50, weight_decay=0.0)
_RANK: Final = 4
_SCENES: Final = 2016
_BATCH: Final = 32
#: What a style changes: attention, and the convolutions, which make the lines.
_TARGETS: Final = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_in", "conv_out")


def train_lora(pipe: Any, folder: Path, to: Path) -> None:
    """Train a LoRA for the trained *pipe*, and write it to the folder *to* in half precision."""
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        part.requires_grad_(requires_grad=False)
    pencil = shelf(pipe.vae, folder, width=SIDE, height=SIDE, count=_SCENES, style=sketch, name="pencil")
    pipe.unet.add_adapter(peft.LoraConfig(r=_RANK, lora_alpha=_RANK, target_modules=list(_TARGETS)))
    conditioned = Conditioned(pipe.unet, pipe.text_encoder, pipe.tokenizer, pipe.scheduler)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        return conditioned.loss(*batch(pencil, _BATCH, step), generator)

    train("lora", {"unet": pipe.unet}, loss, PLAN, folder)
    layers = {key: weight.half() for key, weight in peft.get_peft_model_state_dict(pipe.unet).items()}
    diffusers.StableDiffusionPipeline.save_lora_weights(to, unet_lora_layers=layers)
    share(to)
