"""What a device group decides before it starts, and how its ranks speak; no torch."""

import socket
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from imagefleet.contract.jobs import GenerationJob, JobLimits
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.errors import GroupBroken
from imagefleet_worker.group import protocol
from imagefleet_worker.group.channel import Channel
from imagefleet_worker.group.parallel_plan import ParallelPlan
from imagefleet_worker.group.protocol import GO, HALT, MessageKind, RankMessage
from imagefleet_worker.group.rank import Rank
from imagefleet_worker.settings import GroupSettings, Settings

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def plan(monkeypatch: pytest.MonkeyPatch, *, size: int, **variables: str) -> ParallelPlan:
    for name, value in variables.items():
        monkeypatch.setenv(f"IMAGEFLEET_{name}", value)
    return ParallelPlan.of(Settings.load(), size=size)


@pytest.mark.parametrize(
    ("variables", "size", "expected"),
    [
        ({"GROUP_KIND": "tensor"}, 4, ParallelPlan(tensor=4)),
        ({"GROUP_KIND": "tensor", "GROUP_TP_DEGREE": "2"}, 2, ParallelPlan(tensor=2)),
        ({"GROUP_KIND": "context"}, 4, ParallelPlan(ulysses=4, anything=True)),
        ({"GROUP_KIND": "context", "GROUP_ULYSSES_ANYTHING": "false"}, 4, ParallelPlan(ulysses=4)),
        ({"GROUP_KIND": "context", "GROUP_RING_DEGREE": "4"}, 4, ParallelPlan(ring=4, anything=True)),
        ({"GROUP_KIND": "context", "GROUP_RING_DEGREE": "2"}, 4, ParallelPlan(ring=2, ulysses=2)),
        ({"GROUP_KIND": "context", "ENGINE_MODE": "off"}, 2, ParallelPlan(ulysses=2, anything=True)),
    ],
)
def test_degrees_fill_the_ranks(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], size: int, expected: ParallelPlan
) -> None:
    assert plan(monkeypatch, size=size, **variables) == expected


@pytest.mark.parametrize(
    ("variables", "size", "sentence"),
    [
        ({}, 2, "IMAGEFLEET_GROUP_KIND must be context or tensor"),
        ({"GROUP_KIND": "balanced"}, 2, "IMAGEFLEET_GROUP_KIND must be context or tensor"),
        ({"GROUP_KIND": "context"}, 1, "at least two ranks, not 1"),
        ({"GROUP_KIND": "tensor", "GROUP_TP_DEGREE": "4"}, 2, "is 4, and there are 2 ranks"),
        ({"GROUP_KIND": "context", "GROUP_RING_DEGREE": "3"}, 4, "RING_DEGREE 3 times .*_ULYSSES_DEGREE 1 must be 4"),
        ({"GROUP_KIND": "context", "ENGINE_MODE": "merge"}, 2, "ENGINE_MODE=merge and .* do not go together"),
        ({"GROUP_KIND": "tensor", "ENGINE_MODE": "reproducible"}, 2, "ENGINE_MODE=reproducible and .* do not go"),
        ({"GROUP_KIND": "tensor", "GROUP_RING_DEGREE": "2"}, 2, "only IMAGEFLEET_GROUP_KIND=context heeds them"),
        ({"GROUP_KIND": "context", "GROUP_TP_DEGREE": "2"}, 2, "only IMAGEFLEET_GROUP_KIND=tensor heeds it"),
        ({"GROUP_KIND": "context", "GROUP_MAX_MEMORY": "0:1GiB"}, 2, "only IMAGEFLEET_GROUP_KIND=balanced heeds it"),
    ],
)
def test_what_makes_no_group_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], size: int, sentence: str
) -> None:
    with pytest.raises(SettingsInvalid, match=sentence):
        plan(monkeypatch, size=size, **variables)


def test_limits_of_memory_go_to_each_device() -> None:
    settings = GroupSettings.model_validate({"kind": "balanced", "max_memory": "0:20GiB,1:10GiB,cpu:60GiB"})

    assert settings.memory == {0: "20GiB", 1: "10GiB", "cpu": "60GiB"}
    assert GroupSettings().memory == {}
    with pytest.raises(ValidationError, match="max_memory"):
        GroupSettings.model_validate({"kind": "balanced", "max_memory": "plenty"})


def test_a_rank_comes_from_the_launcher() -> None:
    rank = Rank.here(LAUNCHED)

    assert rank == Rank(rank=1, size=2, local_rank=1, host="127.0.0.1", port=29500)
    assert not rank.is_leader
    assert Rank.here(rank.environment()) == rank
    assert Rank.here({}) is None
    with pytest.raises(SettingsInvalid, match="RANK is set without WORLD_SIZE, MASTER_ADDR, MASTER_PORT"):
        Rank.here({"RANK": "0"})
    with pytest.raises(SettingsInvalid, match="must be numbers"):
        Rank.here({**LAUNCHED, "WORLD_SIZE": "two"})


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection, from both ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        yield near, far


def test_words_arrive_whole_and_in_order(ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = (Channel(end, other="the other", timeout_s=5) for end in ends)
    job = GenerationJob.parse({"prompt": "x" * 200_000, "webhook": {"url": "https://h/secret"}}, limits=_ROOMY)

    near.send(protocol.render(job, (7, 8)))
    near.send(GO)
    near.send(HALT)

    heard = far.receive()
    assert heard.job
    assert (heard.kind, heard.job.prompt, heard.seeds) == (MessageKind.RENDER, job.prompt, (7, 8))
    assert heard.job.webhook is None  # its URL may be a secret, and a follower calls nobody
    assert [far.receive(), far.receive()] == [GO, HALT]


_ROOMY = JobLimits(max_prompt_chars=1_000_000)


def test_beats_keep_an_idle_line_alive(ends: tuple[socket.socket, socket.socket]) -> None:
    """No word comes for three times the timeout, and the line holds."""
    near, far = (Channel(end, other="the other", timeout_s=0.4) for end in ends)
    near.beat()
    counted: list[int] = []
    read = far._read
    far._read = lambda: (counted.append(1) or _last_word(near, len(counted))) and read()  # type: ignore[method-assign]

    assert far.receive().kind is MessageKind.DONE
    assert len(counted) >= _BEATS_HEARD


_BEATS_HEARD = 24  # of 0.05 s each


def _last_word(channel: Channel, count: int) -> bool:
    if count == _BEATS_HEARD:
        channel.send(RankMessage(kind=MessageKind.DONE))
    return True


def test_a_line_without_beats_is_broken(ends: tuple[socket.socket, socket.socket]) -> None:
    far = Channel(ends[1], other="rank 1", timeout_s=0.2)
    with pytest.raises(GroupBroken, match=r"rank 1 has been silent for 0\.2 s"):
        far.receive()


def test_an_end_is_noticed_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    far = Channel(ends[1], other="rank 1", timeout_s=60)
    ends[0].close()
    with pytest.raises(GroupBroken, match="rank 1 has ended"):
        far.receive()
