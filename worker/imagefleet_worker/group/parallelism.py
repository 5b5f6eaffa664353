"""Parallelism: a pipeline's transformer spread over the ranks of a group, by diffusers' own `enable_parallelism`."""

# diffusers exports lazily; its names are public all the same.
# pyright: reportPrivateImportUsage=false

import types
from typing import Any

import torch
import torch.distributed as dist
from diffusers import ContextParallelConfig, ParallelConfig, TensorParallelConfig
from diffusers.hooks import tensor_parallel
from torch.distributed.device_mesh import init_device_mesh

from imagefleet.errors import reason_of
from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.group.parallel_plan import ParallelPlan

#: The transformers of Flux, Flux.2 and Qwen-Image: those whose images were compared with the ones of a single process.
SPREADABLE = frozenset({"FluxTransformer2DModel", "Flux2Transformer2DModel", "QwenImageTransformer2DModel"})


def config_of(plan: ParallelPlan) -> Any:
    """*plan* as diffusers takes it."""
    if plan.tensor > 1:
        return TensorParallelConfig(tp_degree=plan.tensor)
    return ContextParallelConfig(
        ring_degree=plan.ring,
        ulysses_degree=plan.ulysses,
        ulysses_anything=plan.anything and plan.ulysses > 1,
        ring_anything=plan.anything and plan.ring > 1,
    )


def check_family(pipe: Any) -> None:
    """Return if *pipe* can be spread over ranks.

    Raises:
        ModelUnavailable: where it cannot.
    """
    if type(getattr(pipe, "transformer", None)).__name__ not in SPREADABLE:
        raise ModelUnavailable(
            f"{type(pipe).__name__} cannot be spread over the ranks of a device group: that works for Flux, Flux.2 and "
            "Qwen-Image. Serve it with a worker for each device, or with IMAGEFLEET_GROUP_KIND=balanced"
        )


def parallelize(pipe: Any, plan: ParallelPlan, *, device: torch.device, attention: str = "") -> None:
    """Spread the transformer of *pipe* over the ranks, which have all joined torch.distributed and all call this.

    *attention* is the backend that it has been given; where that is empty, a ring gets one that it can work with.

    Raises:
        ModelUnavailable: where this model, device or attention cannot be spread so.
    """
    transformer = pipe.transformer
    try:
        if plan.ring > 1:
            _use_ring_attention(transformer, device=device, attention=attention)
        if device.type == "cpu":
            _admit_cpu(transformer)
        transformer.enable_parallelism(config=config_of(plan))
    except (ValueError, RuntimeError) as error:
        raise ModelUnavailable(
            f"{type(transformer).__name__} cannot be spread over this group: {reason_of(error)}; choose another "
            "kind or size"
        ) from error


def _use_ring_attention(transformer: Any, *, device: torch.device, attention: str) -> None:
    # A ring adds partial results up by their log-sum-exp, which torch's plain attention does not give back.
    if device.type == "cpu":
        raise ModelUnavailable(
            "ring attention needs CUDA devices, for a CPU's attention lacks the log-sum-exp: leave "
            "IMAGEFLEET_GROUP_RING_DEGREE out"
        )
    if not attention:
        transformer.set_attention_backend("_native_cudnn")


def _admit_cpu(transformer: Any) -> None:
    """Let CPU processes be devices, for trying a group out: diffusers asks torch for an accelerator, and finds none."""
    transformer._resolve_parallel_config = types.MethodType(_resolve_on_cpu, transformer)  # noqa: SLF001  # see above
    admitted = {*tensor_parallel._SUPPORTED_TP_DEVICES, "cpu"}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    tensor_parallel._SUPPORTED_TP_DEVICES = tuple(admitted)  # type: ignore[reportPrivateUsage]  # noqa: SLF001


def _resolve_on_cpu(transformer: Any, config: Any) -> ParallelConfig:
    """What `_resolve_parallel_config` of the transformer does, with a mesh of CPU processes."""
    if isinstance(config, ContextParallelConfig):
        whole = ParallelConfig(context_parallel_config=config)
        mesh = init_device_mesh("cpu", config.mesh_shape, mesh_dim_names=config.mesh_dim_names)
    else:
        whole = ParallelConfig(tensor_parallel_config=config)
        mesh = init_device_mesh("cpu", (config.tp_degree,), mesh_dim_names=("tp",))
    whole.setup(dist.get_rank(), dist.get_world_size(), torch.device("cpu"), mesh=mesh)
    transformer._parallel_config = whole  # noqa: SLF001  # as the method that this replaces
    return whole
