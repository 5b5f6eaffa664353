"""How jobs use the device."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.base import group


class EngineMode(StrEnum):
    """How the jobs of one worker share its device."""

    OFF = "off"
    MERGE = "merge"
    REPRODUCIBLE = "reproducible"


class CudaGraphsMode(StrEnum):
    """Whether forwards of few rows are replayed from CUDA graphs."""

    AUTO = "auto"
    OFF = "off"


class EngineSettings(BaseSettings):
    """How jobs use the device."""

    model_config = group("ENGINE")

    mode: EngineMode = Field(
        default=EngineMode.MERGE,
        description="How jobs share the device: off, merge or reproducible (docs/batching.md).",
    )
    max_jobs: int = Field(default=16, ge=1, description="Most jobs on the device at the same time (1 in mode off).")
    max_rows: int = Field(default=32, ge=1, description="Most rows of one joined forward.")
    max_pixels: Annotated[int, Field(ge=1)] | Literal["auto", "measure"] = Field(
        default="auto",
        description="Rows x pixels of one joined forward; auto: measured on CUDA, else 4194304; measure: always.",
    )
    cuda_graphs: CudaGraphsMode = Field(
        default=CudaGraphsMode.AUTO,
        description="auto: replay forwards of few rows, where launching them takes longer than the device does.",
    )
    text_cache_mib: int = Field(
        default=64,
        ge=0,
        description="MiB of the device's memory for encoded texts that come again, in mode merge; 0: none.",
    )
    reproducible_rows: int = Field(default=8, ge=1, description="Rows that every forward is padded to.")
    job_timeout_s: float = Field(
        default=900, gt=0, description="Seconds without a step before the device counts as hung and the process ends."
    )
    preview_side: int = Field(
        default=128,
        ge=16,
        le=256,
        description="Pixels of a preview's longer side; a smaller image has previews of its own size.",
    )
    preview_interval_s: float = Field(default=1, gt=0, description="Least seconds between two previews of a job.")
    preview_decoder: str = Field(
        default="",
        description="Folder of an AutoencoderTiny for previews; else colours are estimated from the latents.",
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of torch; without it torch chooses.")
