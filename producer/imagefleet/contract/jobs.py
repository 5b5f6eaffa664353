"""The job: what a producer asks for, in the words and limits of version 1 of the contract."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from imagefleet.contract.names import ClassName, HttpUrl, Label, ModelAlias
from imagefleet.contract.validation_errors import describe_validation_error
from imagefleet.errors import InvalidJob

#: JSON numbers above this are not exact in every language.
MAX_SEED = 2**53 - 1


class ImageFormat(StrEnum):
    """The file formats of an artifact."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"

    @property
    def media_type(self) -> str:
        """The content type that the object is stored with."""
        return f"image/{self.value}"


class WebhookEvent(StrEnum):
    """The events that a webhook can be sent for; the last four are the ends of a job."""

    QUEUED = "job.queued"
    """The client has put the job into its queue; not sent for messages that were pushed by hand."""
    RUNNING = "job.running"
    """An attempt begins; sent again for each further attempt, with `attempts` one higher."""
    PROGRESS = "job.progress"
    """Steps are done; at most one in `IMAGEFLEET_WEBHOOK_PROGRESS_INTERVAL_S` for each job."""
    SUCCEEDED = "job.succeeded"
    """The job has ended: its images are stored."""
    FAILED = "job.failed"
    """The job has ended without images."""
    CANCELED = "job.canceled"
    """The job has ended: somebody canceled it."""
    EXPIRED = "job.expired"
    """The job has ended: its deadline passed."""


class Webhook(BaseModel):
    """The receiver of events about a job."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: HttpUrl
    """The address of the receiver."""
    events: tuple[WebhookEvent, ...] = (
        WebhookEvent.SUCCEEDED,
        WebhookEvent.FAILED,
        WebhookEvent.CANCELED,
        WebhookEvent.EXPIRED,
    )
    """The events to send; without it the four ends of the job."""


class JobLimits(BaseModel):
    """What one job may ask for; a producer may check less than the worker, never more than it grants."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pixels: int = Field(default=4_194_304, gt=0, description="Width times height, in pixels.")
    max_side: int = Field(default=4096, gt=0, description="Longest side, in pixels.")
    max_steps: int = Field(default=200, gt=0, description="Denoising steps.")
    max_images: int = Field(default=16, gt=0, description="Images of one job.")
    max_prompt_chars: int = Field(default=10_000, gt=0, description="Characters of a prompt or negative prompt.")
    max_metadata_bytes: int = Field(default=4096, gt=0, description="Bytes of the metadata as JSON.")


DEFAULT_LIMITS = JobLimits()


class GenerationJob(BaseModel):
    """One request for images. Its id is not part of it: the Celery task id is the job id."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    version: Literal[1] = 1
    """Version of this contract."""
    model: ModelAlias = "default"
    """Alias of the model; the job goes to the queue `imagefleet.<model>`."""
    prompt: Annotated[str, StringConstraints(min_length=1)]
    """What the images show."""
    negative_prompt: str | None = None
    """What the images should not show; refused by models without a negative prompt."""
    width: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Pixels, a multiple of 8 (of 16 for some models); without it the model's default size."""
    height: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Pixels, as for `width`."""
    steps: Annotated[int, Field(ge=1)] | None = None
    """Denoising steps; without it the worker's default."""
    guidance_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    """How closely to follow the prompt; without it the worker's default."""
    scheduler: ClassName | None = None
    """Class name of a diffusers scheduler that fits the model, such as `EulerDiscreteScheduler`."""
    scheduler_options: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")], JsonValue] = Field(
        default_factory=dict, max_length=32
    )
    """Options of the scheduler, such as `use_karras_sigmas` or `shift`; those of its class, checked by the worker."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    """Image i is made from seed + i; without it a seed is derived from the job id, so a job run again is the same."""
    num_images: Annotated[int, Field(ge=1)] = 1
    """How many images, each with its own seed."""
    format: ImageFormat = ImageFormat.PNG
    """File format of the artifacts."""
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    """For JPEG (90 without it) and WebP (lossless without it); refused for PNG."""
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """9 is the most urgent, 0 the least."""
    deadline: AwareDatetime | None = None
    """A time with its zone, no number; after it the job ends as `expired`. Clients also take `expires_in_s`."""
    group: Label | None = None
    """A name that several jobs share; they can be canceled together."""
    tenant: Label | None = None
    """The user or customer that the job belongs to; within a priority, tenants take turns."""
    presign: bool = False
    """Put a presigned download URL into each artifact of the result."""
    embed: bool = True
    """Write how the images were made, the prompt included, into the files and the metadata of their objects."""
    preview_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between two previews, small pictures of the first image that come with the progress; without it none."""
    strict: bool = False
    """Rather no image than one that is not as asked: what would be a [warning](results.md#warnings) ends the job."""
    webhook: Webhook | None = None
    """The receiver of events about the job."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """The caller's own labels, given back in the result."""

    @classmethod
    def parse(cls, data: object, *, limits: JobLimits = DEFAULT_LIMITS) -> Self:
        """Validate *data*, a mapping or JSON text, against the contract and *limits*.

        Raises:
            InvalidJob: with one message that names every bad field.
        """
        validate = cls.model_validate_json if isinstance(data, str | bytes) else cls.model_validate
        try:
            return validate(data, context=limits)  # type: ignore[arg-type]  # pydantic reports what is not a mapping
        except ValidationError as error:
            names = {*cls.model_fields, *Webhook.model_fields}
            raise InvalidJob(describe_validation_error(error, names=names)) from error

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _within_prompt_limit(cls, value: str | None, info: ValidationInfo) -> str | None:
        limit = _limits(info).max_prompt_chars
        if value is not None and len(value) > limit:
            raise ValueError(f"has {len(value):,} characters, at most {limit:,} are allowed")
        return value

    @field_validator("steps", "num_images", "width", "height")
    @classmethod
    def _within_count_limit(cls, value: int | None, info: ValidationInfo) -> int | None:
        limits = _limits(info)
        name = info.field_name or ""
        limit = {"steps": limits.max_steps, "num_images": limits.max_images}.get(name, limits.max_side)
        if value is not None and value > limit:
            raise ValueError(f"is {value:,}, at most {limit:,} is allowed")
        return value

    @field_validator("deadline", mode="before")
    @classmethod
    def _is_no_number(cls, value: object) -> object:
        if isinstance(value, int | float) or (isinstance(value, str) and value.strip().lstrip("-+").isdecimal()):
            raise ValueError(
                f"{value} is a number, which would be seconds since 1970; give a time with its zone, such as "
                "2031-05-01T12:00:00Z, or give expires_in_s to the client"
            )
        return value

    @field_validator("metadata")
    @classmethod
    def _within_metadata_limit(cls, value: dict[str, JsonValue], info: ValidationInfo) -> dict[str, JsonValue]:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("has half a character (a lone surrogate), which no text may have") from error
        size, limit = len(json.dumps(value)), _limits(info).max_metadata_bytes
        if size > limit:
            raise ValueError(f"takes {size:,} bytes as JSON, at most {limit:,} are allowed")
        return value

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        limit = _limits(info).max_pixels
        if self.width and self.height and self.width * self.height > limit:
            raise ValueError(f"width x height is {self.width * self.height:,} pixels, at most {limit:,} are allowed")
        if self.format is ImageFormat.PNG and self.quality is not None:
            raise ValueError("quality: PNG has none; leave it out or choose webp or jpeg")
        if self.seed is not None and self.seed + self.num_images - 1 > MAX_SEED:
            raise ValueError(f"seed: the last image's seed would be above {MAX_SEED}")
        return self


def _limits(info: ValidationInfo) -> JobLimits:
    return info.context if isinstance(info.context, JobLimits) else DEFAULT_LIMITS


def to_wire(job: "GenerationJob | Mapping[str, Any]") -> Mapping[str, Any]:
    """The job as it goes over the wire: JSON types only, without the fields that have their default."""
    if isinstance(job, GenerationJob):
        return {"version": job.version, **job.model_dump(mode="json", exclude_defaults=True)}
    return job
