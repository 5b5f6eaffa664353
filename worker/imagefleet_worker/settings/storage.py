"""Where images go, and how their files are written."""

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.groups import group


class StorageSettings(BaseSettings):
    """Where images go. Credentials come by boto3's usual chain."""

    model_config = group("STORAGE")

    bucket: str = Field(default="", description="The bucket; it must exist.")
    prefix: str = Field(default="images", pattern=r"^[A-Za-z0-9!_.*'()/-]*$", description="Before each key.")
    endpoint_url: str | None = Field(default=None, description="For S3 that is not Amazon's.")
    region: str | None = Field(default=None, description="The bucket's region.")
    path_style: bool = Field(default=False, description="https://host/bucket/key instead of https://bucket.host/key.")
    presign_expires_s: int = Field(default=3600, ge=1, le=604_800, description="Life of presigned URLs.")
    timeout_s: float = Field(default=30, gt=0, description="For connecting and for each answer.")
    attempts: int = Field(default=4, ge=1, description="Tries of one request, with growing pauses.")


class EncodingSettings(BaseSettings):
    """How image files are written; the defaults favour speed."""

    model_config = group("ENCODING")

    png_level: int = Field(default=1, ge=0, le=9, description="zlib level.")
    webp_method: int = Field(default=0, ge=0, le=6, description="Effort, for lossless and lossy WebP.")
    jpeg_quality: int = Field(default=90, ge=1, le=100, description="For jobs without quality.")
    embed_parameters: bool = Field(default=True, description="Write the job's parameters into the file.")
