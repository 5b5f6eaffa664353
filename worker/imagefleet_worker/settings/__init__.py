"""The settings: read once from `IMAGEFLEET_*` variables, checked whole before any job is taken, then only passed on."""

from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from imagefleet.jobs import describe
from imagefleet_worker.errors import SettingsInvalid
from imagefleet_worker.settings.conflicts import conflicts
from imagefleet_worker.settings.devices import DevicesSettings
from imagefleet_worker.settings.engine import EngineMode, EngineSettings
from imagefleet_worker.settings.group import GroupKind, GroupSettings
from imagefleet_worker.settings.model import Dtype, ModelSettings
from imagefleet_worker.settings.process import HealthSettings, LimitSettings, LogFormat, MetricsSettings, WorkerSettings
from imagefleet_worker.settings.queue import LeaseSettings, RedisSettings
from imagefleet_worker.settings.speed import Cache, Offload, SpeedSettings, StorageFormat
from imagefleet_worker.settings.storage import EncodingSettings, StorageSettings
from imagefleet_worker.settings.tracing import TracingSettings
from imagefleet_worker.settings.webhook import WebhookSettings

__all__ = [
    "Cache",
    "DevicesSettings",
    "Dtype",
    "EncodingSettings",
    "EngineMode",
    "EngineSettings",
    "GroupKind",
    "GroupSettings",
    "HealthSettings",
    "LeaseSettings",
    "LimitSettings",
    "LogFormat",
    "MetricsSettings",
    "ModelSettings",
    "Offload",
    "RedisSettings",
    "Settings",
    "SpeedSettings",
    "StorageFormat",
    "StorageSettings",
    "TracingSettings",
    "WebhookSettings",
    "WorkerSettings",
    "settings",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one worker process."""

    redis: RedisSettings
    lease: LeaseSettings
    model: ModelSettings
    engine: EngineSettings
    speed: SpeedSettings
    group: GroupSettings
    storage: StorageSettings
    encoding: EncodingSettings
    webhook: WebhookSettings
    limits: LimitSettings
    worker: WorkerSettings
    devices: DevicesSettings
    metrics: MetricsSettings
    health: HealthSettings
    tracing: TracingSettings

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
        if not problems:
            problems += conflicts(values["engine"].mode, values["speed"], values["group"])
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
