"""Quantization: weights that become smaller as the pipeline is loaded."""

from importlib import import_module
from typing import Any

from diffusers.quantizers.pipe_quant_config import PipelineQuantizationConfig
from diffusers.quantizers.quantization_config import TorchAoConfig

from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.settings import SpeedSettings

_DEFAULTS: dict[str, dict[str, Any]] = {
    "bitsandbytes_4bit": {"load_in_4bit": True},
    "bitsandbytes_8bit": {"load_in_8bit": True},
}


def quantization_of(settings: SpeedSettings) -> Any | None:
    """The `PipelineQuantizationConfig` that *settings* ask for; None where they ask for none.

    For torchao, `quant_type` in the options is the name of a class of `torchao.quantization`.

    Raises:
        ModelUnavailable: where the backend is unknown, not installed, or does not take the options.
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
            f"IMAGEFLEET_SPEED_QUANTIZATION={backend} cannot be used: {type(error).__name__}: {error}. "
            "Install the backend's package, and see diffusers' documentation for its options"
        ) from error


def _torchao_type(options: dict[str, Any]) -> Any:
    return getattr(import_module("torchao.quantization"), options["quant_type"])()
