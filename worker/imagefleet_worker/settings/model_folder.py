"""The folder of a model: what it seems to be where it is no pipeline of diffusers."""

from pathlib import Path


def why_no_pipeline(folder: Path) -> str | None:
    """That *folder* holds no pipeline, what it seems to be, and the way out; None if it has a `model_index.json`."""
    if (folder / "model_index.json").exists():
        return None
    return f"{folder} holds no model_index.json, {_kind_of(folder)}"


def _kind_of(folder: Path) -> str:
    names = {path.name for path in folder.iterdir()}
    below = sorted(path.parent.name for path in folder.glob("*/model_index.json"))
    weights = sorted(name for name in names if name.endswith((".safetensors", ".ckpt")))
    if names & {"pytorch_lora_weights.safetensors", "adapter_config.json"}:
        return "but LoRA weights: fuse them into their base model once, with fuse_lora and save_pretrained"
    if below:
        return f"and its folder {below[0]} does: set IMAGEFLEET_MODEL_SOURCE to that"
    if "config.json" in names:
        return "but config.json: it is one part of a pipeline, such as a VAE; name the folder of the whole pipeline"
    if weights:
        return (
            f"but single files ({weights[0]}): convert one with from_single_file(...).save_pretrained('my-model'), and "
            "set IMAGEFLEET_MODEL_SOURCE to that folder"
        )
    return "so it is no diffusers model; save one with save_pretrained"
