"""`LocalModel`: a model that `imagefleet up` serves, and how the command line names one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.hardware.discovery import DeviceSlot, cuda_devices, default_slots
from imagefleet_worker.local import default_model
from imagefleet_worker.local.commits import Commits

_ALIAS: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model, and the queue that its workers consume."""

    #: A folder, or a repository id of Hugging Face.
    source: str
    #: Commit of the repository; None for a folder.
    revision: str | None = None
    #: None: that of the environment, or `default`.
    alias: str | None = None
    #: Further variables of its workers.
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)

    def environment(self) -> dict[str, str]:
        """The variables of a worker that serves it."""
        alias = {"IMAGEFLEET_MODEL_ALIAS": self.alias} if self.alias else {}
        own = {"IMAGEFLEET_MODEL_SOURCE": self.source, "IMAGEFLEET_MODEL_REVISION": self.revision or ""}
        return {**self.settings, **own, **alias}


def default(environ: Mapping[str, str]) -> LocalModel:
    """The model that is served if none is named; what *environ* sets wins over its settings."""
    settings = {name: environ.get(name, value) for name, value in default_model.SETTINGS.items()}
    return LocalModel(str(default_model.FOLDER), settings=settings)


def parse_models(texts: Sequence[str], *, revision: str | None, commits: Commits) -> list[LocalModel]:
    """The models that the command line names, each as `SOURCE` or `ALIAS=SOURCE`.

    Raises:
        SettingsInvalid: if an alias cannot be used or stands twice, or a repository cannot be pinned.
    """
    parts = [_alias_and_source(text) for text in texts]
    names = [alias or "default" for alias, _ in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsInvalid(
            f"--model: two models are called {twice[0]!r}; give each a name of its own, as in "
            "--model sketch=./one --model photo=./two"
        )
    if revision and len(parts) > 1:
        raise SettingsInvalid("--revision is for one --model; leave it out, and each repository is pinned at its main")
    return [_pinned(source, alias, revision, commits) for alias, source in parts]


def slots_for(models: Sequence[LocalModel], workers: int | None) -> list[tuple[DeviceSlot, LocalModel]]:
    """Which device serves which of *models*: CUDA devices take turns; on the CPU each model has *workers*, or one.

    Raises:
        SettingsInvalid: if there are fewer CUDA devices than models.
    """
    if devices := cuda_devices():
        slots = default_slots(workers)
        if len(slots) < len(models):
            raise SettingsInvalid(
                f"{len(models)} models need a device each, and this fleet has {len(slots)} of {len(devices)} CUDA "
                "devices: leave out models, or --workers"
            )
        return [(slot, models[number % len(models)]) for number, slot in enumerate(slots)]
    slots = default_slots((workers or 1) * len(models))
    return list(zip(slots, (model for model in models for _ in range(workers or 1)), strict=True))


def group_slot(models: Sequence[LocalModel], workers: int | None) -> list[tuple[DeviceSlot, LocalModel]]:
    """The one worker of a device group, which has all devices of this machine.

    Raises:
        SettingsInvalid: if there is more than one model or worker.
    """
    if len(models) > 1 or (workers or 1) > 1:
        raise SettingsInvalid(
            "IMAGEFLEET_GROUP_KIND makes all devices one worker: give one --model and no --workers, or unset it"
        )
    return [(DeviceSlot("group"), models[0])]


def _pinned(source: str, alias: str | None, revision: str | None, commits: Commits) -> LocalModel:
    path = Path(source).expanduser()
    if path.is_dir():
        return LocalModel(str(path), alias=alias)
    if path.exists():
        raise SettingsInvalid(
            f"--model {source}: this is a file, and a model is a folder with model_index.json. Convert a single "
            f"file once: StableDiffusionPipeline.from_single_file({source!r}).save_pretrained('my-model')"
        )
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise SettingsInvalid(
            f"--model {source}: there is no such folder, and a repository id of Hugging Face has the form "
            "owner/name: correct it"
        )
    return LocalModel(source, revision=commits.commit_of(source, revision), alias=alias)


def _alias_and_source(text: str) -> tuple[str | None, str]:
    alias, equals, source = text.partition("=")
    if not equals or Path(text).exists():
        return None, text
    if not _ALIAS.fullmatch(alias):
        raise SettingsInvalid(
            f"--model {text}: {alias!r} cannot name a model; use up to 63 lower-case letters, digits, dots, hyphens "
            "and underscores, the first a letter or digit"
        )
    return alias, source
