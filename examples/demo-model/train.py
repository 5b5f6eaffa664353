"""Train the demo's model and its LoRA from nothing.

    python examples/demo-model/train.py OUT [--threads 1]

Each part goes to OUT/checkpoints now and then, and a run that stopped goes on there. At the end OUT/demo_model is the
pipeline and OUT/demo_lora the LoRA, both in half precision.
"""

import argparse
from pathlib import Path

import diffusers
import torch

from demomodel.compression import train_autoencoder
from demomodel.denoising import train_denoiser
from demomodel.pipeline import assemble, save
from demomodel.style import train_lora


def main() -> None:
    """Train what is not trained yet."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    checkpoints = options.out / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    pipe = assemble()
    train_autoencoder(pipe.vae, checkpoints)
    train_denoiser(pipe, checkpoints)
    save(pipe, options.out / "demo_model")
    shipped = diffusers.StableDiffusionPipeline.from_pretrained(options.out / "demo_model", dtype=torch.float32)
    train_lora(shipped, checkpoints, options.out / "demo_lora")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder for checkpoints and results")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; the weights of one number are the same")
    return parser.parse_args()


if __name__ == "__main__":
    main()
