"""Opening: a rank loads its model, spreads it together with the others, and takes its part in the group."""

import atexit
from collections.abc import Callable
from typing import Any

import torch

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.loading import load_pipeline
from imagefleet_worker.diffusion.pipeline_traits import inspect_pipeline
from imagefleet_worker.diffusion.renderer import Renderer
from imagefleet_worker.diffusion.revision import revision_of
from imagefleet_worker.group.follower import Follower
from imagefleet_worker.group.leader import Leader
from imagefleet_worker.group.parallel_plan import ParallelPlan
from imagefleet_worker.group.parallelism import check_family, parallelize
from imagefleet_worker.group.rank import Rank
from imagefleet_worker.group.rendezvous import hear_followers, join, reach_leader
from imagefleet_worker.hardware.torch_device import choose_device, choose_dtype
from imagefleet_worker.settings import EngineMode, Settings


def open_leader(settings: Settings) -> tuple[Engine, Callable[[], None]]:
    """The engine of rank 0, whose every job is rendered by all ranks, and what sends the others home.

    Raises:
        GroupBroken: where the ranks do not find each other.
        ModelUnavailable: where the model cannot be loaded, or not be spread.
        SettingsInvalid: where this process is no rank 0, or its group makes no sense.
    """
    rank = Rank.here()
    if rank is None or not rank.is_leader:
        raise SettingsInvalid(
            f"IMAGEFLEET_GROUP_KIND={settings.group.kind.value} needs a process for each device: start the worker with "
            "python -m imagefleet_worker.group"
        )
    pipe = _load(settings, rank)
    timeout_s = settings.group.timeout_s
    leader = Leader(pipe, hear_followers(rank, timeout_s=timeout_s), timeout_s=timeout_s)
    atexit.register(leader.leave)
    engine = Engine(
        pipe,
        model=settings.model,
        engine=settings.engine.model_copy(update={"mode": EngineMode.OFF}),
        revision=revision_of(settings.model),
        speed=settings.speed,
        renderer=leader,
    )
    return engine, leader.leave


def open_follower(settings: Settings, rank: Rank) -> Follower:
    """The part of any other rank. Raises as `open_leader`."""
    pipe = _load(settings, rank)
    channel = reach_leader(rank, timeout_s=settings.group.timeout_s)
    return Follower(Renderer(pipe, inspect_pipeline(pipe)), channel)


def _load(settings: Settings, rank: Rank) -> Any:
    plan = ParallelPlan.of(settings, size=rank.size)
    if settings.engine.threads is not None:
        torch.set_num_threads(settings.engine.threads)
    device = choose_device(settings.model.device)
    if device.type == "cuda":
        torch.cuda.set_device(rank.local_rank)
    dtype = choose_dtype(settings.model.dtype, device=device)
    pipe = load_pipeline(settings.model, settings.speed, device=device, dtype=dtype)
    check_family(pipe)
    join(rank, device=device)
    parallelize(pipe, plan, device=device, attention=settings.speed.attention)
    return pipe
