"""The ranks of a device group agree on every step; what cannot be spread is refused."""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.models.engines import Engines, go_on, pixels

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.loading import load_pipeline
from imagefleet_worker.diffusion.step_callback import OnStep
from imagefleet_worker.errors import JobCanceled, ModelUnavailable
from imagefleet_worker.group.channel import Channel
from imagefleet_worker.group.follower import Follower
from imagefleet_worker.group.leader import Leader
from imagefleet_worker.group.parallel_plan import ParallelPlan
from imagefleet_worker.group.parallelism import check_family, parallelize
from imagefleet_worker.group.protocol import GO, HALT, MessageKind, RankMessage
from imagefleet_worker.settings import (
    EngineMode,
    EngineSettings,
    GroupKind,
    GroupSettings,
    ModelSettings,
    SpeedSettings,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # torch arrays in numpy

JOB = GenerationJob(prompt="a map of an island", steps=4, seed=1, width=64, height=64, guidance_scale=1.0)


@pytest.fixture(autouse=True)
def _fail_where_a_group_would_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise AssertionError(f"the group ended with {code}")

    monkeypatch.setattr(os, "_exit", end)


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """The leader's end of a line, and a follower's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        yield Channel(near, other="rank 1", timeout_s=20), Channel(far, other="the leader", timeout_s=20)


class Listening:
    """The other end of a leader: hears all, and is done when the leader is."""

    def __init__(self, channel: Channel, *, words: int) -> None:
        self.heard: list[RankMessage] = []
        self._thread = threading.Thread(target=self._hear, args=(channel, words))
        self._thread.start()

    def _hear(self, channel: Channel, words: int) -> None:
        while len(self.heard) < words:
            self.heard.append(channel.receive())
        channel.send(RankMessage(kind=MessageKind.DONE))

    def all(self) -> list[RankMessage]:
        self._thread.join(30)
        return self.heard


def test_a_follower_hears_of_each_step(engines: Engines, ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    leader = Leader(engines.shared("flux", "off").pipe, [near], timeout_s=20)
    listening = Listening(far, words=5)

    leader.render(JOB, seeds=[1], on_step=go_on, on_last_step=lambda: None)

    first, *others = listening.all()
    assert first.job
    assert (first.kind, first.job.prompt, first.seeds) == (MessageKind.RENDER, JOB.prompt, (1,))
    assert others == [GO] * 4
    leader.leave()
    assert far.receive().kind is MessageKind.STOP


def test_the_step_of_a_cancel_is_the_last_of_all_ranks(engines: Engines, ends: tuple[Channel, Channel]) -> None:
    near, far = ends
    leader = Leader(engines.shared("flux", "off").pipe, [near], timeout_s=20)
    listening = Listening(far, words=3)

    def cancel_at_two(done: int, _total: int) -> None:
        if done == 2:
            raise JobCanceled("enough")

    with pytest.raises(JobCanceled):
        leader.render(JOB, seeds=[1], on_step=cancel_at_two, on_last_step=lambda: None)

    assert listening.all()[1:] == [GO, HALT]
    leader.leave()


class Counting:
    """A renderer that only counts its steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0

    def render(
        self, job: GenerationJob, *, seeds: Sequence[int], on_step: OnStep, on_last_step: Callable[[], None]
    ) -> list[Any]:
        for _ in range(self.steps):
            self.done += 1
            on_step(self.done, self.steps)
        raise AssertionError("a follower decodes nothing")


@pytest.mark.parametrize(("said", "steps"), [([GO, GO, HALT], 3), ([GO] * 5, 5)])
def test_a_follower_stops_where_the_leader_says_or_after_the_last_step(said: list[RankMessage], steps: int) -> None:
    renderer = Counting(5)
    follower = Follower(renderer, None)  # type: ignore[arg-type]  # it speaks with nobody here
    for word in said:
        follower._words.put(word)

    assert follower._render(JOB, (1,)) is None
    assert renderer.done == steps
    assert follower._words.empty()


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "z-image"])
def test_other_families_are_refused(engines: Engines, family: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"works for Flux, Flux\.2 and Qwen-Image"):
        check_family(engines.shared(family).pipe)


@pytest.mark.parametrize("family", ["flux", "flux2-klein", "qwen-image"])
def test_families_that_can_be_spread_are_taken(engines: Engines, family: str) -> None:
    check_family(engines.shared(family).pipe)


def test_a_ring_of_cpus_is_refused(engines: Engines) -> None:
    model = ModelSettings(source=str(engines.source("flux")))
    pipe = load_pipeline(model, SpeedSettings(), device=torch.device("cpu"), dtype=torch.float32)
    with pytest.raises(ModelUnavailable, match="ring attention needs CUDA devices"):
        parallelize(pipe, ParallelPlan(ring=2, anything=True), device=torch.device("cpu"))


def test_balanced_makes_the_same_image_where_the_memory_is_that_of_the_cpu(engines: Engines) -> None:
    """All that a machine without GPUs can show of it; the limits have come as far as diffusers."""
    group = GroupSettings(kind=GroupKind.BALANCED, max_memory="cpu:2GiB")
    model = ModelSettings(source=str(engines.source("flux")), default_size="64x64")
    balanced = Engine.load(model, EngineSettings(mode=EngineMode.OFF, threads=1), group=group)

    assert np.array_equal(pixels(balanced, JOB), pixels(engines.shared("flux", "off"), JOB))
