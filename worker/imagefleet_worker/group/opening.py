"""Opening: a rank loads its model, spreads it together with the others, and takes its part in the group."""

import atexit
from collections.abc import Callable
from typing import Any

import torch

from imagefleet_worker.device import choose_device, choose_dtype
from imagefleet_worker.engine import Engine
from imagefleet_worker.errors import SettingsInvalid
from imagefleet_worker.families import family_of
from imagefleet_worker.group.follower import Follower
from imagefleet_worker.group.leader import Leader
from imagefleet_worker.group.parallelism import check_family, spread
from imagefleet_worker.group.places import Place
from imagefleet_worker.group.plans import Plan
from imagefleet_worker.group.rendezvous import hear_followers, join, reach_leader
from imagefleet_worker.pipelines import load_pipeline, revision_of
from imagefleet_worker.rendering import Renderer
from imagefleet_worker.settings import EngineMode, Settings


def open_leader(settings: Settings) -> tuple[Engine, Callable[[], None]]:
    """The engine of rank 0, whose every job is rendered by all ranks, and what sends the others home.

    Raises:
        GroupBroken: where the ranks do not find each other.
        ModelUnavailable: where the model cannot be loaded, or not be spread.
        SettingsInvalid: where this process is no rank 0, or its group makes no sense.
    """
    place = Place.here()
    if place is None or not place.is_leader:
        raise SettingsInvalid(
            f"IMAGEFLEET_GROUP_KIND={settings.group.kind.value} needs a process for each device: start the worker with "
            "python -m imagefleet_worker.group"
        )
    pipe = _load(settings, place)
    timeout_s = settings.group.timeout_s
    leader = Leader(pipe, hear_followers(place, timeout_s=timeout_s), timeout_s=timeout_s)
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


def open_follower(settings: Settings, place: Place) -> Follower:
    """The part of any other rank. Raises as `open_leader`."""
    pipe = _load(settings, place)
    channel = reach_leader(place, timeout_s=settings.group.timeout_s)
    return Follower(Renderer(pipe, family_of(pipe)), channel)


def _load(settings: Settings, place: Place) -> Any:
    plan = Plan.of(settings, size=place.size)
    if settings.engine.threads is not None:
        torch.set_num_threads(settings.engine.threads)
    device = choose_device(settings.model.device)
    if device.type == "cuda":
        torch.cuda.set_device(place.local_rank)
    dtype = choose_dtype(settings.model.dtype, device=device)
    pipe = load_pipeline(settings.model, settings.speed, device=device, dtype=dtype)
    check_family(pipe)
    join(place, device=device)
    spread(pipe, plan, device=device, attention=settings.speed.attention)
    return pipe
