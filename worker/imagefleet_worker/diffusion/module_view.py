"""The module view: a module of the pipeline that knows its device without a walk through its parts."""

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.utils.torch_utils import get_module_execution_device


def views_of(pipe: Any) -> dict[str, Any]:
    """Views of those modules of *pipe* that are asked for their device and stay on it, by the modules' names.

    Pipelines ask their text encoders and their decoder for their device, several times a job, and each answer is a walk
    through all parts in search of offload hooks. Of a small model that is a twentieth of a job.
    """
    # A denoiser is asked for nothing, and patches of attention look for its parts.
    return {
        name: view_of(module)
        for name, module in pipe.components.items()
        if isinstance(module, torch.nn.Module) and name.startswith(("text_encoder", "vae")) and not has_hooks(module)
    }


def view_of(module: torch.nn.Module) -> Any:
    """*module* under another class: both have the same attributes, also those that are set later.

    `modules` gives the module and none of its parts. The dtype is looked up each time, for SDXL changes its decoder's.
    """
    kind, device = type(module), get_module_execution_device(module)
    answers = {"device": property(lambda _module: device), "modules": _only_itself, "__module__": kind.__module__}
    view_kind: Any = type(kind.__name__, (kind,), answers)
    view = view_kind.__new__(view_kind)
    object.__setattr__(view, "__dict__", vars(module))
    return view


def _only_itself(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    yield module


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether offload, a cache or the like has put anything before the forward of *module* or of its parts."""
    return any(hasattr(part, hook) for part in module.modules() for hook in ("_hf_hook", "_diffusers_hook"))
