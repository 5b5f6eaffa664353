"""The model of a worker."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from imagefleet.jobs import ModelAlias
from imagefleet_worker.settings.groups import group


class Dtype(StrEnum):
    """The number format that a model is served in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class ModelSettings(BaseSettings):
    """The one model of this worker."""

    model_config = group("MODEL")

    alias: ModelAlias = Field(default="default", description="The worker consumes the queue imagefleet.<alias>.")
    source: str = Field(default="", description="A local folder, or a Hugging Face repository id.")
    revision: str | None = Field(
        default=None, pattern="^[0-9a-f]{40}$", description="The repository's commit; required unless a folder."
    )
    variant: str | None = Field(default=None, description="Variant of the weight files, such as fp16.")
    dtype: Dtype = Field(default=Dtype.AUTO, description="auto: bfloat16 on CUDA, float32 elsewhere.")
    device: str = Field(default="auto", pattern="^(auto|cpu|mps|cuda)$", description="auto: cuda, then mps, then cpu.")
    offline: bool = Field(default=False, description="Never download: the model must be on this machine.")
    default_steps: int | None = Field(
        default=None, ge=1, description="For jobs without steps; else the pipeline's own."
    )
    default_guidance_scale: float | None = Field(default=None, ge=0, description="For jobs without guidance_scale.")
    default_size: str | None = Field(default=None, pattern=r"^\d+x\d+$", description="For jobs without width, height.")
    warm_up: bool = Field(default=True, description="Make one small image before taking jobs.")

    @model_validator(mode="after")
    def _is_pinned(self) -> Self:
        if self.source and not self.revision and not Path(self.source).is_dir():
            raise ValueError(
                f"source: {self.source!r} is no folder here; a repository id needs MODEL_REVISION (40 hex)"
            )
        return self
