"""Precautions: what the Hugging Face libraries, which ask the environment when they are imported, must not do."""

import os

from imagefleet_worker.settings import ModelSettings


def restrict_huggingface(model: ModelSettings) -> None:
    """Before torch and diffusers are imported: no code of a model's folder is run and, offline, nothing is fetched."""
    os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"
    if model.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
