"""The settings: read once from `IMAGEFLEET_*` variables, checked whole before any job is taken, then only passed on."""

from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from imagefleet.jobs import JobLimits, ModelAlias, describe
from imagefleet_worker.errors import SettingsInvalid


def _group(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(env_prefix=f"IMAGEFLEET_{prefix}_", frozen=True, extra="forbid", env_ignore_empty=True)


class RedisSettings(BaseSettings):
    """The queue."""

    model_config = _group("REDIS")

    url: str = Field(default="redis://127.0.0.1:6379/0", description="redis://, rediss:// (TLS) or sentinel:// URL.")
    key_prefix: str = Field(default="", description="Put before every key, for a Redis that others use too.")
    sentinel_master: str = Field(default="", description="Name of the master, with a sentinel:// URL.")
    result_ttl_s: int = Field(default=21_600, gt=0, description="How long results and records stay in Redis.")
    socket_timeout_s: float = Field(default=5, gt=0, description="After this long without an answer: broken.")


class LeaseSettings(BaseSettings):
    """Claims on messages."""

    model_config = _group("LEASE")

    duration_s: float = Field(default=30, ge=1, description="A silent worker's jobs go to others after this long.")
    max_deliveries: int = Field(
        default=3, ge=1, description="A job whose worker fell silent so often is a dead letter."
    )
    dead_letter_ttl_s: int = Field(default=1_209_600, gt=0, description="How long dead letters are kept.")
    max_dead_letters: int = Field(default=10_000, gt=0, description="How many; the oldest go first.")


class Dtype(StrEnum):
    """The number format that a model is served in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class ModelSettings(BaseSettings):
    """The one model of this worker."""

    model_config = _group("MODEL")

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


class EngineMode(StrEnum):
    """How the jobs of one worker share its device."""

    OFF = "off"
    MERGE = "merge"
    REPRODUCIBLE = "reproducible"


class EngineSettings(BaseSettings):
    """How jobs use the device."""

    model_config = _group("ENGINE")

    mode: EngineMode = Field(default=EngineMode.MERGE, description="off, merge or reproducible: see the README.")
    max_jobs: int = Field(default=8, ge=1, description="Jobs that denoise at the same time (1 in mode off).")
    max_rows: int = Field(default=16, ge=1, description="Rows of one joined forward.")
    reproducible_rows: int = Field(default=8, ge=1, description="Rows that every forward is padded to.")
    job_timeout_s: float = Field(default=900, gt=0, description="A device silent for this long ends the process.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of torch; else torch's own choice.")


class StorageSettings(BaseSettings):
    """Where images go. Credentials come by boto3's usual chain."""

    model_config = _group("STORAGE")

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

    model_config = _group("ENCODING")

    png_level: int = Field(default=1, ge=0, le=9, description="zlib level.")
    webp_method: int = Field(default=0, ge=0, le=6, description="Effort, for lossless and lossy WebP.")
    jpeg_quality: int = Field(default=90, ge=1, le=100, description="For jobs without quality.")
    embed_parameters: bool = Field(default=True, description="Write the job's parameters into the file.")


class WebhookSettings(BaseSettings):
    """Deliveries to receivers."""

    model_config = _group("WEBHOOK")

    secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="Comma-separated whsec_ secrets; each signs, so two while one is rotated out."
    )
    allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma-separated hosts or networks (10.0.0.0/8) that may be private."
    )
    timeout_s: float = Field(default=10, gt=0, description="For one delivery as a whole.")
    retry_for_s: int = Field(default=86_400, ge=0, description="Give up this long after the first try.")
    retry_base_s: float = Field(default=5, gt=0, description="First pause between tries; each is about twice the last.")

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {
            name: tuple(part.strip() for part in value.split(",") if part.strip())
            if name in ("secrets", "allow_hosts") and isinstance(value, str)
            else value
            for name, value in data.items()
        }


class LimitSettings(BaseSettings, JobLimits):  # pyright: ignore[reportIncompatibleVariableOverride]  # one must win
    """What one job may ask for."""

    model_config = _group("LIMIT")


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class WorkerSettings(BaseSettings):
    """The process."""

    model_config = _group("WORKER")

    concurrency: int = Field(default=16, ge=1, description="Jobs held at once, those that encode and upload included.")
    drain_s: float = Field(default=25, ge=0, description="After SIGTERM, how long running jobs may go on.")
    retry_for_s: int = Field(default=600, ge=0, description="How long a job that can heal is tried again.")
    retry_base_s: float = Field(default=2, gt=0, description="First pause between tries; each is about twice the last.")
    progress_interval_s: float = Field(default=0.25, gt=0, description="At most one progress event a job in this time.")
    log_format: LogFormat = Field(default=LogFormat.CONSOLE, description="console or json.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="From this level on.")


class MetricsSettings(BaseSettings):
    """Numbers for Prometheus."""

    model_config = _group("METRICS")

    port: int = Field(default=0, ge=0, le=65_535, description="Serves /metrics there; 0 is off. One port a process.")
    address: str = Field(default="0.0.0.0", description="The address to listen on.")


class HealthSettings(BaseSettings):
    """Signs of life for `imagefleet-worker health`."""

    model_config = _group("HEALTH")

    folder: str = Field(default="", description="A folder of this process's own, for its heartbeat; empty is off.")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one worker process."""

    redis: RedisSettings
    lease: LeaseSettings
    model: ModelSettings
    engine: EngineSettings
    storage: StorageSettings
    encoding: EncodingSettings
    webhook: WebhookSettings
    limits: LimitSettings
    worker: WorkerSettings
    metrics: MetricsSettings
    health: HealthSettings

    @classmethod
    def groups(cls) -> dict[str, type[BaseSettings]]:
        """Each group of settings by its name."""
        return {field.name: field.type for field in fields(cls)}  # type: ignore[misc]  # annotations are classes here

    @classmethod
    def load(cls) -> "Settings":
        """Read and check all settings.

        Raises:
            SettingsInvalid: with one message that names every variable in need of attention.
        """
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, group in cls.groups().items():
            try:
                values[name] = group()
            except ValidationError as error:
                problems.append(f"{group.model_config.get('env_prefix')}*: {describe(error)}")
        if problems:
            raise SettingsInvalid("; ".join(problems))
        return cls(**values)


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call.

    Raises:
        SettingsInvalid: as `Settings.load`.
    """
    return Settings.load()
