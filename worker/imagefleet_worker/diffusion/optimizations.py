"""Optimizations: what `IMAGEFLEET_SPEED_*` asks for, done to a pipeline by one public call of diffusers each."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig
from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig
from diffusers.quantizers.quantization_config import TorchAoConfig

from imagefleet.errors import described
from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.settings import Cache, Offload, SpeedSettings, StorageFormat

_CACHES: dict[Cache, Any] = {
    Cache.TAYLORSEER: TaylorSeerCacheConfig,
    Cache.FIRST_BLOCK: FirstBlockCacheConfig,
}

#: The end of its variable's name, whether it is asked for, and what to do then.
Lever = tuple[str, bool, Callable[[], object]]


def apply_optimizations(pipe: Any, settings: SpeedSettings, *, device: torch.device | None) -> None:
    """Do to *pipe* what *settings* ask for, and bring it from the CPU to *device* or its offload.

    Without a *device* its parts stay where they are.

    Raises:
        ModelUnavailable: with the variable that does not fit the pipeline or the device, and why.
    """
    denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    for variable, is_asked_for, pull in _optimizations(pipe, denoiser, settings, device):
        if not is_asked_for:
            continue
        try:
            pull()
        except Exception as error:
            if isinstance(error, ModelUnavailable):
                raise
            raise ModelUnavailable(
                f"IMAGEFLEET_SPEED_{variable} does not fit {type(pipe).__name__} here: {described(error)}; leave it out"
            ) from error


def _optimizations(pipe: Any, denoiser: Any, settings: SpeedSettings, device: torch.device | None) -> list[Lever]:
    """The calls in the order in which they can be made: weights, then hooks, then place, then code."""
    cache, offload, storage = settings.cache, settings.offload, settings.layerwise_casting
    return [
        ("FUSE_QKV", settings.fuse_qkv, lambda: _call(denoiser, "fuse_qkv_projections")),
        ("ATTENTION", bool(settings.attention), lambda: _set_attention(denoiser, settings.attention)),
        ("CHANNELS_LAST", _wants_channels_last(pipe, settings, device), lambda: _order_channels(pipe)),
        ("VAE_TILING", settings.vae_tiling, lambda: _call(pipe.vae, "enable_tiling")),
        ("VAE_SLICING", settings.vae_slicing, lambda: _call(pipe.vae, "enable_slicing")),
        ("OFFLOAD", offload is Offload.NONE and device is not None, lambda: pipe.to(device)),
        ("LAYERWISE_CASTING", storage is not StorageFormat.NONE, lambda: _cast(denoiser, storage)),
        ("CACHE", cache is not Cache.NONE, lambda: _enable_cache(denoiser, cache, settings.cache_options)),
        ("OFFLOAD", offload is not Offload.NONE, lambda: _offload(pipe, offload, device)),
        ("COMPILE", settings.compile, lambda: _call(denoiser, "compile_repeated_blocks")),
    ]


def _call(module: Any, name: str, *args: object) -> None:
    method = getattr(module, name, None)
    if method is None:
        raise AttributeError(f"{type(module).__name__} has no {name}")
    method(*args)


def _set_attention(denoiser: Any, name: str) -> None:
    processors = [module.processor for module in denoiser.modules() if hasattr(module, "processor")]
    if not any(hasattr(processor, "_attention_backend") for processor in processors):
        raise ValueError(f"the attention of {type(denoiser).__name__} has no backends to choose from")
    denoiser.set_attention_backend(name)


def _wants_channels_last(pipe: Any, settings: SpeedSettings, device: torch.device | None) -> bool:
    if settings.channels_last == "auto":
        return getattr(pipe, "unet", None) is not None and device is not None and device.type == "cpu"
    return settings.channels_last


def _order_channels(pipe: Any) -> None:
    if getattr(pipe, "unet", None) is None:
        raise ValueError("only a UNet gains by it")
    for part in filter(None, (pipe.unet, getattr(pipe, "vae", None))):
        part.to(memory_format=torch.channels_last)


def _cast(denoiser: Any, storage: StorageFormat) -> None:
    denoiser.enable_layerwise_casting(storage_dtype=getattr(torch, storage.value), compute_dtype=denoiser.dtype)


def _enable_cache(denoiser: Any, cache: Cache, options: dict[str, Any]) -> None:
    if not hasattr(denoiser, "enable_cache"):
        raise ValueError(f"{type(denoiser).__name__} has no caches")
    denoiser.enable_cache(_CACHES[cache](**options))


def _offload(pipe: Any, offload: Offload, device: torch.device | None) -> None:
    if device is None or device.type == "cpu":
        raise ValueError("there is no device whose memory it could spare")
    if offload is Offload.MODEL:
        pipe.enable_model_cpu_offload(device=device)
    elif offload is Offload.SEQUENTIAL:
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.enable_group_offload(onload_device=device, offload_type="leaf_level")


_DEFAULTS: dict[str, dict[str, Any]] = {
    "bitsandbytes_4bit": {"load_in_4bit": True},
    "bitsandbytes_8bit": {"load_in_8bit": True},
}


def quantization_config(settings: SpeedSettings) -> Any | None:
    """The `PipelineQuantizationConfig` that *settings* ask for; None if they ask for none.

    For torchao, `quant_type` in the options is the name of a class of `torchao.quantization`.

    Raises:
        ModelUnavailable: if the backend is unknown, not installed, or does not take the options.
    """
    backend = settings.quantization
    if not backend:
        return None
    options: dict[str, Any] = dict(settings.quantization_options) or _DEFAULTS.get(backend, {})
    try:
        if backend == "torchao":
            each = TorchAoConfig(**{**options, "quant_type": _torchao_type(options)})
            return PipelineQuantizationConfig(quant_mapping=dict.fromkeys(settings.quantization_components, each))
        return PipelineQuantizationConfig(
            quant_backend=backend,
            quant_kwargs=options,
            components_to_quantize=list(settings.quantization_components),
        )
    except (ImportError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelUnavailable(
            f"IMAGEFLEET_SPEED_QUANTIZATION={backend} cannot be used: {described(error)}. "
            "Install the backend's package, and see diffusers' documentation for its options"
        ) from error


def _torchao_type(options: dict[str, Any]) -> Any:
    return getattr(import_module("torchao.quantization"), options["quant_type"])()
