"""Pipelines: a diffusers pipeline from a folder or a pinned repository, loaded without running anybody's code."""

import hashlib
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]  # lazy, and public all the same

from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.levers import pull_levers
from imagefleet_worker.quantization import quantization_of
from imagefleet_worker.settings import GroupKind, GroupSettings, ModelSettings, SpeedSettings

_SAMPLE_BYTES = 65_536


def load_pipeline(
    settings: ModelSettings,
    speed: SpeedSettings,
    *,
    device: torch.device,
    dtype: torch.dtype,
    group: GroupSettings | None = None,
) -> Any:
    """The pipeline that *settings* name, with the levers of *speed*, on *device*, ready to be called.

    Where *group* is balanced, its parts are on several devices.

    Only safetensors weights are read, code from the model's repository is never run.

    Raises:
        ModelUnavailable: with what diffusers says and what to check.
    """
    if not settings.source:
        raise ModelUnavailable("no model is set: set IMAGEFLEET_MODEL_SOURCE to a folder or a repository id")
    _be_quiet()
    quantization, placing = quantization_of(speed), _placing(group)
    try:
        pipe: Any = DiffusionPipeline.from_pretrained(
            settings.source,
            revision=settings.revision,
            variant=settings.variant,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=settings.offline,
            trust_remote_code=False,
            **({"quantization_config": quantization} if quantization else {}),
            **placing,
        )
    except Exception as error:
        raise ModelUnavailable(
            f"{settings.source} cannot be loaded: {type(error).__name__}: {error}. "
            "It must be a diffusers model (model_index.json) with safetensors weights"
        ) from error
    pipe.set_progress_bar_config(disable=True)
    if getattr(pipe, "watermark", None) is not None:  # SDXL turns it on where a certain package happens to be there
        pipe.watermark = None
    _keep_vae_in_range(pipe)
    pull_levers(pipe, speed, device=None if placing else device)
    return pipe


def revision_of(settings: ModelSettings) -> str:
    """What identifies the weights: the repository's commit, or `sha256:` over a folder's names, sizes and samples.

    The samples are the first bytes of each file, with the whole header of most safetensors files, and the last.
    """
    folder = Path(settings.source)
    if settings.revision and not folder.is_dir():
        return settings.revision
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE_BYTES))
            file.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(file.read(_SAMPLE_BYTES))
    return f"sha256:{digest.hexdigest()}"


def _placing(group: GroupSettings | None) -> dict[str, Any]:
    if group is None or group.kind is not GroupKind.BALANCED:
        return {}
    return {"device_map": "balanced", "max_memory": group.memory or None}


def _be_quiet() -> None:
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _keep_vae_in_range(pipe: Any) -> None:
    # SDXL's VAE overflows in float16. Its pipeline would cast the shared VAE up and down again round every decode,
    # under the feet of other jobs; so it is float32 from the start.
    vae = getattr(pipe, "vae", None)
    if vae is not None and vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", False):
        vae.to(torch.float32)
