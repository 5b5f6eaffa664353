"""The row cache: equal rows are computed once, and nobody can tell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from imagefleet_worker.batching import row_cache
from imagefleet_worker.batching.batch_runner import BatchRunner
from imagefleet_worker.batching.budget import unlimited
from imagefleet_worker.batching.device_timer import DeviceTimer
from imagefleet_worker.batching.row_cache import RowCache
from imagefleet_worker.batching.run import RunState
from imagefleet_worker.batching.shared_method import JoinPolicy

ROW_BYTES = 3 * 4 + 4


@dataclass
class Encoder:
    """Makes (rows, 3) and a pooled (rows,) of whole numbers, through a cache; keeps the rows of each of its calls."""

    cache: RowCache = field(default_factory=lambda: RowCache(2**20))
    calls: list[list[list[int]]] = field(default_factory=list)

    def make(self, arguments: dict[str, Any], rows: int) -> dict[str, Any]:
        """What a model makes of its rows."""
        ids = arguments["input_ids"]
        assert len(ids) == rows
        self.calls.append(ids.tolist())
        return {"hidden": (ids[:, :1] * torch.tensor([1.0, 2.0, 3.0]),), "pooled": ids.sum(-1).float()}

    def encode(self, *texts: list[int], method: str = "encoder", **options: Any) -> dict[str, Any]:
        """The output for *texts*, each a list of tokens; it must be what the model itself would have made."""
        arguments = {"input_ids": torch.tensor(list(texts)), "return_dict": True, **options}
        output = self.cache.output(method, arguments, len(texts), make=self.make)
        expected = [[token * n for n in (1.0, 2.0, 3.0)] for token, *_ in texts]
        assert output["hidden"][0].tolist() == expected
        assert output["pooled"].tolist() == [float(sum(text)) for text in texts]
        return output

    def learn(self, *texts: list[int], **options: Any) -> None:
        """Let the cache keep what is made of *texts*, which come twice; these calls are not counted."""
        before = len(self.calls)
        for _ in range(2):
            self.encode(*texts, **options)
        del self.calls[before:]


def test_equal_rows_of_one_call_and_of_later_calls_are_computed_once() -> None:
    encoder = Encoder()
    encoder.encode([1, 7], [2, 7], [1, 7])
    encoder.encode([2, 7], [1, 7], [2, 7])
    encoder.encode([2, 7], [3, 7], [3, 7], [1, 7])
    encoder.encode([1, 8])

    assert encoder.calls == [[[1, 7], [2, 7]], [[2, 7], [1, 7]], [[3, 7]], [[1, 8]]]
    assert (encoder.cache.rows, encoder.cache.reused) == (11, 5)


def test_a_row_is_kept_when_it_comes_the_second_time() -> None:
    """Most prompts never come again; those that do need not come soon, but within 1,024 others. One job has it once."""
    encoder = Encoder()
    for _ in range(4):
        encoder.encode([1, 7], [1, 7])
    assert encoder.calls == [[[1, 7]], [[1, 7]]]
    encoder.encode([2, 7])
    for token in range(10, 10 + 1023):
        encoder.encode([token, 0])
    for _ in range(2):
        encoder.encode([2, 7])
        encoder.encode([10, 0])
    assert encoder.calls[-2:] == [[[2, 7]], [[10, 0]]]
    assert len(encoder.calls) == 2 + 1 + 1023 + 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"method": "encoder"}, {"method": "second encoder"}),
        ({"output_hidden_states": True}, {"output_hidden_states": False}),
        ({"attention_mask": torch.tensor([[1, 0]])}, {"attention_mask": torch.tensor([[1, 1]])}),
        ({"attention_mask": torch.tensor([[True, True]])}, {"attention_mask": torch.tensor([[1, 1]])}),
        ({}, {"attention_mask": None}),
    ],
)
def test_what_else_a_call_depends_on_keeps_its_rows_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Another text encoder, another value of an option or of a mask."""
    encoder = Encoder()
    encoder.learn([1, 7], **one)
    encoder.encode([1, 7], **other)
    encoder.encode([1, 7], **one)
    assert len(encoder.calls) == 1


def test_a_call_within_autocast_has_rows_of_its_own() -> None:
    encoder = Encoder()
    encoder.learn([1, 7])
    with torch.autocast("cpu", torch.bfloat16):
        encoder.encode([1, 7])
    encoder.encode([1, 7])
    assert len(encoder.calls) == 1


def test_who_writes_into_an_output_spoils_no_other() -> None:
    encoder = Encoder()
    for texts in ([[1, 7]], [[1, 7]], [[1, 7]], [[1, 7], [4, 4], [4, 4]], [[4, 4]]):
        output = encoder.encode(*texts)
        output["hidden"][0].fill_(-1)
        output["pooled"].zero_()
    encoder.encode([1, 7], [4, 4])
    assert encoder.calls == [[[1, 7]], [[1, 7]], [[4, 4]], [[4, 4]]]


def test_the_rows_that_were_used_last_are_kept_within_the_bytes() -> None:
    encoder = Encoder(RowCache(4 * ROW_BYTES + 1))
    encoder.learn([1, 0], [2, 0], [3, 0], [4, 0])
    encoder.encode([1, 0], [3, 0], [4, 0])
    encoder.learn([5, 0])  # in place of 2
    encoder.encode([1, 0], [3, 0], [4, 0], [5, 0])
    assert encoder.calls == []
    encoder.encode([2, 0])
    assert encoder.calls == [[[2, 0]]]
    encoder.learn(*([token, 0] for token in range(11, 17)))  # more than it may keep
    encoder.encode([13, 0], [14, 0], [15, 0], [16, 0])
    assert len(encoder.calls) == 1


@pytest.mark.parametrize("place", ["hidden", "pooled"])
def test_rows_with_values_that_are_no_numbers_are_not_kept(place: str) -> None:
    """A device that failed once must not spoil all later jobs with that text; a good row beside it is kept."""
    encoder = Encoder()

    def make_badly(arguments: dict[str, Any], rows: int) -> dict[str, Any]:
        output = encoder.make(arguments, rows)
        (output["hidden"][0] if place == "hidden" else output["pooled"])[0] = float("nan")
        return output

    arguments = {"input_ids": torch.tensor([[1, 7], [2, 7]]), "return_dict": True}
    for _ in range(2):
        encoder.cache.output("encoder", arguments, 2, make=make_badly)
    encoder.encode([1, 7], [2, 7])
    encoder.encode([1, 7], [2, 7])
    assert encoder.calls == [[[1, 7], [2, 7]]] * 2 + [[[1, 7]]]


@pytest.mark.parametrize(
    "arguments",
    [
        {"inputs_embeds": torch.ones(2, 3)},
        {"input_ids": torch.tensor([[1], [1]]), "pixel_values": torch.ones(2, 3)},
        {"input_ids": torch.tensor([[1], [1]]), "attention_mask": torch.ones(2, 1)},
        {"input_ids": torch.tensor([[1], [1]]), "position_ids": torch.zeros(2, 2, 1, dtype=torch.int64)},
        {"input_ids": torch.tensor([[1], [1]]), "position_ids": torch.arange(1)},
        {"input_ids": torch.tensor([[1], [1]]), "extra": [torch.ones(1), torch.ones(1)]},
        {"input_ids": torch.tensor([[1], [1]]), "extra": {"mask": torch.ones(2, 1)}},
        {"input_ids": torch.zeros(0, 1, dtype=torch.int64)},
    ],
)
def test_calls_whose_rows_cannot_be_told_are_left_to_the_model(arguments: dict[str, Any]) -> None:
    """Such as position ids of (3, rows, tokens), which seem to have rows where there are three."""
    rows = len(next(iter(arguments.values())))
    cache = RowCache(2**20)
    made: list[tuple[Any, int]] = []
    for _ in range(2):
        cache.output("encoder", arguments, rows, make=lambda *call: made.append(call))
    assert [count for _, count in made] == [rows, rows]
    assert all(given is arguments for given, _ in made)


def test_a_call_of_new_rows_is_made_as_it_came() -> None:
    encoder = Encoder()
    arguments = {"input_ids": torch.tensor([[1, 7], [2, 7]]), "return_dict": True}
    made: list[Any] = []

    def make(given: dict[str, Any], rows: int) -> dict[str, Any]:
        assert given is arguments
        made.append(encoder.make(given, rows))
        return dict(made[-1])

    output = encoder.cache.output("encoder", arguments, 2, make=make)
    assert output["pooled"] is made[0]["pooled"]


def test_a_row_that_would_drive_out_the_others_is_not_kept() -> None:
    encoder = Encoder(RowCache(4 * ROW_BYTES))
    encoder.learn([1, 7], [2, 7])

    def large(arguments: dict[str, Any], rows: int) -> torch.Tensor:
        calls.append(rows)
        return arguments["input_ids"][:, :1].expand(rows, ROW_BYTES)

    calls: list[int] = []
    for _ in range(2):
        output = encoder.cache.output("language model", {"input_ids": torch.tensor([[5], [5]])}, 2, make=large)
        assert output.tolist() == [[5] * ROW_BYTES] * 2
    assert calls == [1, 1]
    encoder.encode([1, 7], [2, 7])
    assert encoder.calls == []


def test_a_device_without_room_for_the_copies_fails_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder()
    encoder.learn([3, 7])

    def full(_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(row_cache, "_copied", full)
        encoder.learn([1, 7], [2, 7])
    encoder.encode([1, 7], [3, 7])
    encoder.encode([1, 7], [3, 7])
    assert encoder.calls == [[[1, 7], [3, 7]]]


def test_no_more_than_256_rows_are_kept() -> None:
    """So that a worker has all the memory that it will have after so many prompts."""
    encoder = Encoder()
    for token in range(1, 258):
        encoder.learn([token, 0])
    encoder.encode([257, 0], [2, 0])
    assert encoder.calls == []
    encoder.encode([1, 0])
    assert encoder.calls == [[[1, 0]]]


class Strange(dict[str, Any]):
    """An output that cannot be made anew."""

    def __init__(self, hidden: torch.Tensor, /) -> None:
        super().__init__(hidden=hidden)


@pytest.mark.parametrize(
    "output",
    [
        lambda rows: {"hidden": torch.ones(rows, 1), "cache": object()},
        lambda rows: torch.ones(4, rows),
        lambda rows: {"hidden": [torch.ones(1)] * rows},
        lambda rows: Strange(torch.ones(rows, 1)),
    ],
    ids=["cache object", "tokens first", "list", "cannot be made anew"],
)
def test_an_output_whose_rows_cannot_be_told_is_given_as_it_is(output: Callable[[int], Any]) -> None:
    made: list[int] = []

    def make(_: dict[str, Any], rows: int) -> Any:
        made.append(rows)
        outputs.append(output(rows))
        return outputs[-1]

    outputs: list[Any] = []
    cache = RowCache(2**20)
    for _ in range(3):
        assert cache.output("encoder", {"input_ids": torch.tensor([[1], [1]])}, 2, make=make) is outputs[-1]
    assert made == [1, 2, 2, 2]


class Counter:
    """A shared method that keeps the rows of each call."""

    name = "forward"
    state = RunState.ENCODING

    def __init__(self) -> None:
        self.policy = JoinPolicy(unlimited(), is_joined=True, keeps_rows=True)
        self.calls: list[int] = []

    def function(self, input_ids: torch.Tensor) -> torch.Tensor:
        """As many rows."""
        self.calls.append(len(input_ids))
        return input_ids.float()

    def bind(self, args: tuple[torch.Tensor], _: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """As `SharedMethod.bind`."""
        return {"input_ids": args[0]}, len(args[0])


def test_a_call_that_is_recorded_for_a_measurement_is_made_in_any_case() -> None:
    cpu = torch.device("cpu")
    runner, method = BatchRunner(cpu, timer=DeviceTimer(cpu), graphs=None), Counter()
    runner.row_cache = RowCache(2**20)

    def call() -> None:
        runner.run_alone(method, (torch.tensor([[1], [1]]),), {}, most_rows=8)  # pyright: ignore[reportArgumentType]

    for _ in range(3):
        call()
    assert method.calls == [1, 1]
    with runner.recording() as recorded:
        call()
    assert method.calls == [1, 1, 2]
    assert [each.rows for each in recorded] == [2]
    runner.free_memory()
    call()
    assert method.calls == [1, 1, 2, 1]
