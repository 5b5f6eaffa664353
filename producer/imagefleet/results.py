"""The result: how a job ended, never with image bytes in it."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from imagefleet.errors import JobFailed
from imagefleet.jobs import ImageFormat


class JobStatus(StrEnum):
    """Where a job is; the last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


FinalStatus = Literal[JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED]


class _Wire(BaseModel):
    # A newer worker may add fields; an older producer must still read its results.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Artifact(_Wire):
    """One stored image."""

    uri: str
    """`s3://bucket/key`."""
    url: str | None = None
    """Presigned download URL, where the job asked for one."""
    media_type: str
    """Content type of the object."""
    format: ImageFormat
    """File format."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    seed: int
    """The seed that makes this image again, alone."""
    sha256: str
    """Hash of the file, in hexadecimal."""
    size_bytes: int
    """Size of the file."""


class JobError(_Wire):
    """Why a job has no images."""

    code: str
    """Stable and machine-readable."""
    message: str
    """A sentence for a person."""
    retryable: bool
    """Whether the same job, sent again later, may succeed."""


#: Left out of the wire form while None, so that older readers and stored results see what they know.
_ABSENT: Final = Field(exclude_if=lambda value: value is None)


class Timings(_Wire):
    """Where the time went, in seconds."""

    queued_s: Annotated[float, Field(ge=0)] = 0.0
    """From submit to the claim that made the images; 0 where the message carries no time."""
    load_s: Annotated[float, Field(ge=0)] = 0.0
    """Loading on behalf of this job; 0 while the worker's one model is loaded at its start."""
    generate_s: Annotated[float, Field(ge=0)] = 0.0
    """Text encoding, denoising and decoding, including waiting for the device."""
    denoise_s: Annotated[float | None, _ABSENT, Field(ge=0)] = None
    """The part of `generate_s` up to the last step, waiting for the device included; absent without steps."""
    decode_s: Annotated[float | None, _ABSENT, Field(ge=0)] = None
    """The part of `generate_s` after it; absent without steps."""
    encode_s: Annotated[float, Field(ge=0)] = 0.0
    """Writing the image files."""
    upload_s: Annotated[float, Field(ge=0)] = 0.0
    """Storing them."""


class StepsDone(_Wire):
    """How far the denoising is."""

    done: int
    """Steps behind it."""
    total: int
    """Steps in all, by the pipeline's own count."""


class JobUpdate(_Wire):
    """Where a job is that has not ended."""

    version: Literal[1] = 1
    """Version of this contract."""
    id: str
    """The job's id."""
    status: Literal[JobStatus.QUEUED, JobStatus.RUNNING]
    """Where it is."""
    progress: StepsDone | None = None
    """Set in `job.progress`."""
    attempts: int = 0
    """Runs begun so far."""
    worker: str | None = None
    """Name of the worker that runs it."""
    model: str | None = None
    """Alias of the model."""
    at: AwareDatetime
    """When this was so."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """The caller's own labels."""


class JobResult(_Wire):
    """How a job ended."""

    version: Literal[1] = 1
    """Version of this contract."""
    id: str
    """The job's id."""
    status: FinalStatus
    """How it ended."""
    artifacts: tuple[Artifact, ...] = ()
    """The images in order of their seeds; empty unless succeeded."""
    error: JobError | None = None
    """Set unless succeeded."""
    timings: Timings = Timings()
    """Where the time went."""
    attempts: int = 0
    """How many runs it took; 0 for a job that ended before any."""
    worker: str | None = None
    """Name of the worker that ended it."""
    device: str | None = None
    """Device that made the images, such as `cuda:0 NVIDIA L4`."""
    model: str | None = None
    """Alias of the model."""
    model_revision: str | None = None
    """What exactly the alias stood for: the repository's commit, or a hash of the folder."""
    finished_at: AwareDatetime
    """When it ended."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """The caller's own labels."""

    def raise_for_status(self) -> "JobResult":
        """Return self if the job succeeded.

        Raises:
            JobFailed: otherwise, with the code and the message of the error.
        """
        if self.status is JobStatus.SUCCEEDED:
            return self
        reason = f"{self.error.code}: {self.error.message}" if self.error else self.status.value
        raise JobFailed(f"job {self.id} {self.status.value} ({reason})")
