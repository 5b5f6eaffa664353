"""Inference mode: whether a pipeline may run in torch's inference mode, where each operator costs a little less."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from imagefleet_worker.batching.collation import SHARED_INPUTS
from imagefleet_worker.diffusion.pipeline_traits import PipelineTraits
from imagefleet_worker.settings import SpeedSettings

#: What the device loop runs within.
GradMode = Callable[[], AbstractContextManager[None]]

#: Where diffusers, accelerate and torch note what they put before a module's own forward.
_NOTES = ("_diffusers_hook", "_hf_hook", "_compiled_call_impl")


def grad_mode_for(pipe: Any, traits: PipelineTraits, speed: SpeedSettings, *, device: torch.device) -> GradMode:
    """Inference mode if nothing on *pipe*, which computes on *device*, is known to be at odds with it.

    Offload, caches, casts, compiled code and quantized or spread weights keep tensors of their own between forwards, or
    make others out of them, and each has had its trouble with tensors of inference mode.
    """
    # Writes into its tensors leave no mark, so what jobs must share is compared byte by byte: not on another device.
    is_compared = device.type != "cpu" and _shares_inputs(getattr(pipe, traits.denoiser or "", None))
    return torch.inference_mode if is_plain(pipe, speed) and not is_compared else torch.no_grad


def is_plain(pipe: Any, speed: SpeedSettings) -> bool:
    """Whether the modules of *pipe* are as diffusers loads them."""
    modules = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return not speed.attention and all(_is_plain(module) for part in modules for module in part.modules())


def _is_plain(module: torch.nn.Module) -> bool:
    if any(getattr(module, note, None) is not None for note in _NOTES):
        return False
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return all(type(tensor) in {torch.Tensor, torch.nn.Parameter} for tensor in tensors)


def _shares_inputs(denoiser: Any | None) -> bool:
    return denoiser is not None and not SHARED_INPUTS.isdisjoint(inspect.signature(type(denoiser).forward).parameters)
