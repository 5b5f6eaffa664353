"""Stable Diffusion 1.5 with a safety checker of random weights."""

from typing import Any

import diffusers
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from tests.support.models.tiny_pipelines import stable_diffusion
from tests.support.models.tiny_pipelines.encoders import clip_vision

_SIDE = 28


def sd_with_checker() -> Any:
    """A pipeline whose checker flags nothing until its `concept_embeds_weights`, the thresholds, are lowered."""
    vision = clip_vision().config.to_dict()
    checker = StableDiffusionSafetyChecker(transformers.CLIPConfig(vision_config=vision, projection_dim=32))
    for thresholds in (checker.concept_embeds_weights, checker.special_care_embeds_weights):
        thresholds.data.fill_(2.0)  # a cosine is at most 1
    pipe = stable_diffusion.sd()
    return diffusers.StableDiffusionPipeline(
        **{
            **pipe.components,
            "safety_checker": checker,
            "feature_extractor": transformers.CLIPImageProcessor(size=_SIDE, crop_size=_SIDE),
        }
    )
