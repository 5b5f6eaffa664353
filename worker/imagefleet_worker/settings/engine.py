"""How jobs use the device."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.groups import group


class EngineMode(StrEnum):
    """How the jobs of one worker share its device."""

    OFF = "off"
    MERGE = "merge"
    REPRODUCIBLE = "reproducible"


class EngineSettings(BaseSettings):
    """How jobs use the device."""

    model_config = group("ENGINE")

    mode: EngineMode = Field(default=EngineMode.MERGE, description="off, merge or reproducible: see the README.")
    max_jobs: int = Field(default=16, ge=1, description="Jobs that denoise at the same time (1 in mode off).")
    max_rows: int = Field(default=32, ge=1, description="Rows of one joined forward.")
    max_pixels: Annotated[int, Field(ge=1)] | Literal["auto", "measure"] = Field(
        default="auto",
        description="Rows x pixels of one joined forward; auto: measured on CUDA, else 4194304; measure: always.",
    )
    reproducible_rows: int = Field(default=8, ge=1, description="Rows that every forward is padded to.")
    job_timeout_s: float = Field(default=900, gt=0, description="A device silent for this long ends the process.")
    preview_side: int = Field(default=128, ge=16, le=256, description="Pixels of a preview's longer side.")
    preview_interval_s: float = Field(default=1, gt=0, description="At most one preview a job in this time.")
    preview_decoder: str = Field(
        default="", description="Folder of an AutoencoderTiny for previews; else colours are guessed from the latents."
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of torch; else torch's own choice.")
