"""The result: how a job ended, never with image bytes in it."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from imagefleet.contract.job_warnings import JobWarning
from imagefleet.contract.jobs import ImageFormat
from imagefleet.errors import JobFailed


class JobStatus(StrEnum):
    """Where a job is; the last four are final."""

    QUEUED = "queued"
    """It waits: for its first attempt, for a retry, or for another worker."""
    RUNNING = "running"
    """A worker makes its images."""
    SUCCEEDED = "succeeded"
    """The images are stored; `artifacts` lists them."""
    FAILED = "failed"
    """It has no images; `error` says why."""
    CANCELED = "canceled"
    """Somebody canceled it before it had ended."""
    EXPIRED = "expired"
    """Its deadline passed before it had ended."""

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


FinalStatus = Literal[JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED]


#: Left out of the wire form while empty, so that older readers and stored results see what they know.
_ABSENT: Final = Field(exclude_if=lambda value: value is None or value == ())


class _Wire(BaseModel):
    # A newer worker may add fields; an older producer must still read its results.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Artifact(_Wire):
    """One stored image."""

    uri: str
    """`s3://bucket/key`."""
    url: str | None = None
    """Presigned download URL, if the job asked for one."""
    url_expires_at: Annotated[AwareDatetime | None, _ABSENT] = None
    """When `url` ends: after `IMAGEFLEET_STORAGE_PRESIGN_EXPIRES_S`, or earlier with the worker's credentials."""
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
    labels: Annotated[dict[str, JsonValue] | None, _ABSENT] = None
    """What the checker of IMAGEFLEET_MODEL_CHECKER says of the image; absent without one."""


class JobError(_Wire):
    """Why a job has no images."""

    code: str
    """Stable and machine-readable."""
    message: str
    """A sentence for a person."""
    retryable: bool
    """Whether the same job, sent again later, may succeed."""


class Timings(_Wire):
    """Where the time went, in seconds."""

    queued_s: Annotated[float, Field(ge=0)] = 0.0
    """From submit to the claim that made the images; 0 if the message carries no time."""
    load_s: Annotated[float, Field(ge=0)] = 0.0
    """Loading on behalf of this job; 0, because a worker loads its one model when it starts."""
    generate_s: Annotated[float, Field(ge=0)] = 0.0
    """Text encoding, denoising and decoding, including waiting for the device."""
    denoise_s: Annotated[float | None, _ABSENT, Field(ge=0)] = None
    """The part of `generate_s` up to the last step, waiting for the device included; absent without steps."""
    decode_s: Annotated[float | None, _ABSENT, Field(ge=0)] = None
    """The part of `generate_s` after it; absent without steps."""
    check_s: Annotated[float | None, _ABSENT, Field(ge=0)] = None
    """The checker of IMAGEFLEET_MODEL_CHECKER; absent without one."""
    encode_s: Annotated[float, Field(ge=0)] = 0.0
    """Writing the image files."""
    upload_s: Annotated[float, Field(ge=0)] = 0.0
    """Storing them."""


class StepsDone(_Wire):
    """How far the denoising is."""

    done: int
    """Steps that are done."""
    total: int
    """Steps in all, by the pipeline's own count."""


class JobUpdate(_Wire):
    """Where a job is that has not ended."""

    version: Literal[1] = 1
    """Version of this contract."""
    id: str
    """The job's id."""
    status: Literal[JobStatus.QUEUED, JobStatus.RUNNING]
    """Its status."""
    progress: StepsDone | None = None
    """Set in `job.progress`."""
    attempts: int = 0
    """Attempts that have begun."""
    worker: str | None = None
    """Name of the worker that runs it."""
    model: str | None = None
    """Alias of the model."""
    at: AwareDatetime
    """When the update was made."""
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
    warnings: Annotated[tuple[JobWarning, ...], _ABSENT] = ()
    """What is not as the job asked; absent if all is. The codes are below."""
    timings: Timings = Timings()
    """Where the time went."""
    attempts: int = 0
    """Attempts that it took; 0 for a job that ended before the first."""
    worker: str | None = None
    """Name of the worker that ended it."""
    device: str | None = None
    """Device that made the images, such as `NVIDIA L4`."""
    model: str | None = None
    """Alias of the model."""
    model_revision: str | None = None
    """The weights that the alias stood for: the commit of the repository, or a hash of the folder."""
    finished_at: AwareDatetime
    """When it ended."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """The caller's own labels."""
    fingerprint: Annotated[str | None, _ABSENT] = None
    """Hash of the job: two jobs with one id are the same job if it is equal. Absent unless succeeded."""

    def raise_for_status(self) -> "JobResult":
        """Return self if the job succeeded.

        Raises:
            JobFailed: otherwise, with the code and the message of the error.
        """
        if self.status is JobStatus.SUCCEEDED:
            return self
        reason = f"{self.error.code}: {self.error.message}" if self.error else self.status.value
        raise JobFailed(f"job {self.id} {self.status.value} ({reason})")
