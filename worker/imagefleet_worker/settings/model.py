"""The model of a worker."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from imagefleet.contract.names import ModelAlias, in_words
from imagefleet_worker.settings.base import group

_COMMIT: Final = "^[0-9a-f]{40}$"
_SIZE: Final = r"^\d+x\d+$"


class Dtype(StrEnum):
    """The number format that a model is served in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Flagged(StrEnum):
    """What becomes of a job with an image that a safety checker has flagged."""

    FAIL = "fail"
    WARN = "warn"


class ModelSettings(BaseSettings):
    """The one model of this worker."""

    model_config = group("MODEL")

    alias: ModelAlias = Field(default="default", description="The worker consumes the queue imagefleet.<alias>.")
    source: str = Field(default="", description="A local folder, or a Hugging Face repository id.")
    revision: Annotated[
        str | None,
        in_words(
            _COMMIT,
            "must be a commit, 40 hexadecimal digits, and no branch or tag, which could change under a fleet",
        ),
    ] = Field(
        default=None,
        pattern=_COMMIT,
        description="Commit of the repository, 40 hexadecimal digits; not needed for a folder.",
    )
    variant: str | None = Field(default=None, description="Variant of the weight files, such as fp16.")
    dtype: Dtype = Field(default=Dtype.AUTO, description="auto: bfloat16 on CUDA, float32 elsewhere.")
    device: Literal["auto", "cpu", "mps", "cuda"] = Field(default="auto", description="auto: cuda, then mps, then cpu.")
    offline: bool = Field(default=False, description="Never download; the model must be on this machine.")
    default_steps: int | None = Field(
        default=None, ge=1, description="Steps of jobs that name none; without it the pipeline's default."
    )
    default_guidance_scale: float | None = Field(
        default=None, ge=0, description="Guidance scale of jobs that name none."
    )
    default_size: Annotated[str | None, in_words(_SIZE, "must be WIDTHxHEIGHT, such as 1024x1024")] = Field(
        default=None, pattern=_SIZE, description="Size of jobs that name none, such as 1024x1024."
    )
    flagged: Flagged = Field(
        default=Flagged.FAIL,
        description="What a flagged image does to its job: fail ends it without images, warn stores them.",
    )
    checker: str = Field(
        default="",
        pattern=r"^(|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*)$",
        description="A function of your own that looks at all finished images, as package.module:function.",
    )
    warm_up: bool = Field(
        default=True,
        description="Make small images before taking jobs; without them jobs are not joined and nothing is measured.",
    )

    @model_validator(mode="after")
    def _is_pinned(self) -> Self:
        if self.source and not self.revision and not Path(self.source).is_dir():
            raise ValueError(f"IMAGEFLEET_MODEL_SOURCE: {_why_no_model(self.source)}")
        return self


def _why_no_model(source: str) -> str:
    """Why *source*, which is no folder and has no revision, is no model, and the way out."""
    if Path(source).exists():
        return (
            f"{source!r} is a file, and a model is a folder with model_index.json; convert a single file once: "
            f"StableDiffusionPipeline.from_single_file({source!r}).save_pretrained('my-model')"
        )
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        return f"{source!r} is no folder on this machine, and a repository id has the form owner/name"
    return (
        f"{source!r} is no folder on this machine; if it is a repository id of Hugging Face, set "
        "IMAGEFLEET_MODEL_REVISION to the commit to serve: 40 hexadecimal digits, from the history of its files"
    )
