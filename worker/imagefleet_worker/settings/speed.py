"""What makes a pipeline faster or smaller; each setting is one public call of diffusers."""

import json
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator
from pydantic_settings import BaseSettings, NoDecode

from imagefleet_worker.settings.base import group


class Cache(StrEnum):
    """Ways to skip parts of the denoiser at some steps."""

    NONE = "none"
    TAYLORSEER = "taylorseer"
    FIRST_BLOCK = "first_block"


class Offload(StrEnum):
    """What of the model waits in the CPU's memory."""

    NONE = "none"
    MODEL = "model"
    GROUP = "group"
    SEQUENTIAL = "sequential"


class StorageFormat(StrEnum):
    """The number format that weights are kept in between their uses."""

    NONE = "none"
    FLOAT8_E4M3FN = "float8_e4m3fn"
    FLOAT8_E5M2 = "float8_e5m2"


#: Backends of `PipelineQuantizationConfig` that change weights only, so that rows cannot touch each other.
_WEIGHT_ONLY = frozenset({"bitsandbytes_4bit", "quanto"})


class SpeedSettings(BaseSettings):
    """What makes a pipeline faster or smaller. docs/speed.md says what fits together."""

    model_config = group("SPEED")

    compile: bool = Field(default=False, description="Compile the denoiser's repeated blocks.")
    attention: str = Field(default="", description="Attention backend of diffusers, such as _flash_3_hub.")
    fuse_qkv: bool = Field(default=False, description="Fuse the attention's projections.")
    channels_last: bool | Literal["auto"] = Field(
        default="auto", description="Keep a UNet's weights in channels-last order; auto: on the CPU."
    )
    vae_tiling: bool = Field(default=False, description="Decode large images tile by tile.")
    vae_slicing: bool = Field(default=False, description="Decode the images of one job one by one.")
    layerwise_casting: StorageFormat = Field(
        default=StorageFormat.NONE, description="Keep weights as float8_e4m3fn or float8_e5m2; none is off."
    )
    cache: Cache = Field(default=Cache.NONE, description="none, taylorseer or first_block; mode off only.")
    cache_options: dict[str, JsonValue] = Field(
        default={}, description='JSON for the cache, such as {"threshold": 0.1}.'
    )
    quantization: str = Field(default="", description="Backend, such as torchao or bitsandbytes_4bit.")
    quantization_options: dict[str, JsonValue] = Field(
        default={}, description='JSON for the backend, such as {"quant_type": "Int8WeightOnlyConfig"}.'
    )
    quantization_components: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("unet", "transformer"), description="Comma-separated parts of the pipeline to quantize."
    )
    offload: Offload = Field(default=Offload.NONE, description="none, model, group or sequential.")

    @field_validator("quantization_components", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def is_one_at_a_time(self) -> bool:
        """Whether a job must be over, decode and all, before the next may touch the pipeline."""
        return self.cache is not Cache.NONE or self.offload is Offload.MODEL

    @property
    def is_image_by_image(self) -> bool:
        """Whether the images of one job would depend on each other if they were made in one call."""
        return self.cache is Cache.FIRST_BLOCK or self.quantizes_by_call

    @property
    def quantizes_by_call(self) -> bool:
        """Whether the rows of one call are quantized with a common scale, or sorted by their outliers."""
        if self.quantization == "torchao":
            return "WeightOnly" not in json.dumps(self.quantization_options)
        return bool(self.quantization) and self.quantization not in _WEIGHT_ONLY
