"""The process itself, what one job may ask of it, and when the worker of a device is started again."""

from enum import StrEnum
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet.contract.jobs import JobLimits
from imagefleet_worker.settings.base import group


class LimitSettings(BaseSettings, JobLimits):  # pyright: ignore[reportIncompatibleVariableOverride]  # one must win
    """Most that one job may ask for."""

    model_config = group("LIMIT")


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class WorkerSettings(BaseSettings):
    """One worker process."""

    model_config = group("WORKER")

    concurrency: int = Field(
        default=24, ge=1, description="Most jobs held at once, those that encode and upload included."
    )
    tenant_jobs: int = Field(
        default=0, ge=0, description="Most jobs of one tenant that run at once in the fleet; 0 is no limit."
    )
    drain_s: float = Field(default=25, ge=0, description="After SIGTERM, how long running jobs may go on.")
    retry_for_s: int = Field(
        default=3600,
        ge=0,
        description="Seconds during which what failed is tried again: the upload while S3 is away, or a job.",
    )
    retry_base_s: float = Field(default=2, gt=0, description="First pause between tries; each is about twice the last.")
    progress_interval_s: float = Field(
        default=0.25, gt=0, description="Least seconds between two progress events of a job."
    )
    log_format: LogFormat = Field(default=LogFormat.CONSOLE, description="console or json.")
    log_label: str = Field(default="", description="Value of `device` in each log line; `--devices` sets it.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level of log lines that are written."
    )


class DevicesSettings(BaseSettings):
    """When the worker of a device is started again."""

    model_config = group("DEVICES")

    restart_max_s: float = Field(
        default=60, gt=0, description="Longest pause, in seconds, before a worker is started again."
    )
    max_faults: int = Field(
        default=5, ge=1, description="Exits with 71, 73 or 74 within the window after which a device is given up."
    )
    fault_window_s: float = Field(default=3600, gt=0, description="The window for MAX_FAULTS, in seconds.")
