"""The settings: read once from `IMAGEFLEET_*` variables, checked whole before any job is taken, then only passed on.

- `base`: a group of settings is one class with one prefix of variables
- `model`, `engine`, `speed`, `group`: what is loaded, and how the device makes images with it
- `model_folder`: what a folder seems to be that is no pipeline
- `redis`, `storage`, `webhook`: the servers that a worker talks to
- `provenance`: what image files say of where they come from
- `worker`, `observability`: the process itself, and how it is watched
- `conflicts`: settings that exclude each other, and parts that they need

May import `errors`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from imagefleet.contract.validation_errors import sentence_of
from imagefleet.contract.variables import misspelt
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.settings.conflicts import conflicts, defaults_above_limits, missing_parts
from imagefleet_worker.settings.engine import CudaGraphsMode, EngineMode, EngineSettings
from imagefleet_worker.settings.group import GroupKind, GroupSettings
from imagefleet_worker.settings.model import Dtype, Flagged, ModelSettings
from imagefleet_worker.settings.observability import HealthSettings, MetricsSettings, TracingSettings
from imagefleet_worker.settings.provenance import ProvenanceSettings
from imagefleet_worker.settings.redis import LeaseSettings, RedisSettings
from imagefleet_worker.settings.speed import Cache, Offload, SpeedSettings, StorageFormat
from imagefleet_worker.settings.storage import EncodingSettings, StorageSettings
from imagefleet_worker.settings.webhook import WebhookSettings
from imagefleet_worker.settings.worker import DevicesSettings, LimitSettings, LogFormat, WorkerSettings

__all__ = [
    "Cache",
    "CudaGraphsMode",
    "DevicesSettings",
    "Dtype",
    "EncodingSettings",
    "EngineMode",
    "EngineSettings",
    "Flagged",
    "GroupKind",
    "GroupSettings",
    "HealthSettings",
    "LeaseSettings",
    "LimitSettings",
    "LogFormat",
    "MetricsSettings",
    "ModelSettings",
    "Offload",
    "ProvenanceSettings",
    "RedisSettings",
    "Settings",
    "SpeedSettings",
    "StorageFormat",
    "StorageSettings",
    "TracingSettings",
    "WebhookSettings",
    "WorkerSettings",
    "settings",
    "variables",
]


#: What only a client reads.
_OF_CLIENTS: Final = ("IMAGEFLEET_MAX_QUEUED",)


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
    provenance: ProvenanceSettings
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
        problems = list(_misspelt(os.environ))
        for name, group in cls.groups().items():
            try:
                values[name] = group()
            except ValidationError as error:
                problems += _describe(error, prefix=str(group.model_config.get("env_prefix")))
        if not problems:
            problems += defaults_above_limits(values["model"], values["limits"])
            problems += conflicts(values["engine"], values["speed"], values["group"])
            problems += missing_parts(values["redis"], values["tracing"])
        if problems:
            raise SettingsInvalid("; ".join(problems))
        return cls(**values)


def variables() -> list[str]:
    """The names of all variables that a worker reads."""
    return [
        f"{group.model_config.get('env_prefix')}{name}".upper()
        for group in Settings.groups().values()
        for name in group.model_fields
    ]


def _misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """Each variable of *environ* that looks like a setting and is none."""
    prefixes = {str(group.model_config.get("env_prefix")) for group in Settings.groups().values()}
    for name, nearest in misspelt(environ, [*variables(), *_OF_CLIENTS], groups=prefixes):
        meant = f"is no setting: did you mean {nearest}?" if nearest else "is no setting"
        yield f"{name} {meant}; `imagefleet-worker settings --markdown` lists them"


def _describe(error: ValidationError, *, prefix: str) -> list[str]:
    """Each problem with its variable, and never with its value, which may be a secret."""
    problems: list[str] = []
    for problem in error.errors(include_url=False, include_input=False):
        what = sentence_of(problem)
        variable = f"{prefix}{problem['loc'][0]}".upper() if problem["loc"] else ""
        more = "".join(f".{part}" for part in problem["loc"][1:])
        problems.append(f"{variable}{more}: {what}" if variable else what)
    return problems


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call.

    Raises:
        SettingsInvalid: as `Settings.load`.
    """
    return Settings.load()
