"""Where images go, and how their files are written."""

from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet.contract.names import in_words
from imagefleet_worker.settings.base import group

#: Characters that every S3 takes in keys.
_KEY: Final = r"^[A-Za-z0-9!_.*'()/-]*$"


class StorageSettings(BaseSettings):
    """Where images go. boto3 finds the credentials in its usual places."""

    model_config = group("STORAGE")

    bucket: str = Field(default="", description="The bucket; it must exist.")
    prefix: Annotated[str, in_words(_KEY, "must be of letters, digits and ! _ . * ' ( ) / -")] = Field(
        default="images", pattern=_KEY, description="Prefix of every key."
    )
    endpoint_url: str | None = Field(default=None, description="URL of an S3 service other than Amazon's.")
    public_url: str | None = Field(
        default=None, description="The same service as those reach it who follow links; links are for this host."
    )
    region: str | None = Field(default=None, description="The bucket's region; without it the worker asks for it.")
    path_style: bool = Field(default=False, description="https://host/bucket/key instead of https://bucket.host/key.")
    presign_expires_s: int = Field(default=3600, ge=1, le=604_800, description="Seconds that presigned URLs are valid.")
    timeout_s: float = Field(default=30, gt=0, description="Seconds for connecting and for each answer.")
    attempts: int = Field(default=4, ge=1, description="Tries of one request, with growing pauses between them.")
    spool_folder: str = Field(
        default="",
        description="Folder on disk where images wait while S3 is away; empty: one in the system's temporary folder.",
    )
    spool_mb: float = Field(
        default=256, gt=0, description="Megabytes of waiting images from which on a worker claims no job."
    )


class EncodingSettings(BaseSettings):
    """How image files are written; the defaults favour speed."""

    model_config = group("ENCODING")

    png_level: int = Field(default=1, ge=0, le=9, description="zlib level of PNG files.")
    webp_method: int = Field(default=0, ge=0, le=6, description="Compression effort of WebP files, lossless and lossy.")
    jpeg_quality: int = Field(default=90, ge=1, le=100, description="Quality of JPEG files of jobs that name none.")
    embed_parameters: bool = Field(
        default=True, description="Write the prompt and the other parameters into files and objects' metadata."
    )
