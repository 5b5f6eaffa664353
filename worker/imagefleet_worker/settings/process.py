"""The process itself, and how it is watched."""

from enum import StrEnum

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet.jobs import JobLimits
from imagefleet_worker.settings.groups import group


class LimitSettings(BaseSettings, JobLimits):  # pyright: ignore[reportIncompatibleVariableOverride]  # one must win
    """What one job may ask for."""

    model_config = group("LIMIT")


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class WorkerSettings(BaseSettings):
    """The process."""

    model_config = group("WORKER")

    concurrency: int = Field(default=24, ge=1, description="Jobs held at once, those that encode and upload included.")
    tenant_jobs: int = Field(default=0, ge=0, description="Of one tenant, run at once in the fleet; 0 is any number.")
    drain_s: float = Field(default=25, ge=0, description="After SIGTERM, how long running jobs may go on.")
    retry_for_s: int = Field(default=600, ge=0, description="How long a job that can heal is tried again.")
    retry_base_s: float = Field(default=2, gt=0, description="First pause between tries; each is about twice the last.")
    progress_interval_s: float = Field(default=0.25, gt=0, description="At most one progress event a job in this time.")
    log_format: LogFormat = Field(default=LogFormat.CONSOLE, description="console or json.")
    log_label: str = Field(default="", description="In each log line, as `device`; `--devices` sets it.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="From this level on.")


class MetricsSettings(BaseSettings):
    """Numbers for Prometheus."""

    model_config = group("METRICS")

    port: int = Field(default=0, ge=0, le=65_535, description="Serves /metrics there; 0 is off. One port a process.")
    address: str = Field(default="0.0.0.0", description="The address to listen on.")


class HealthSettings(BaseSettings):
    """Signs of life for `imagefleet-worker health`."""

    model_config = group("HEALTH")

    folder: str = Field(default="", description="A folder of this process's own, for its heartbeat; empty is off.")
