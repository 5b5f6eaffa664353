"""The row cache: equal rows are computed once, and nobody can tell."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

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
    value: float = 1.0

    def make(self, arguments: dict[str, Any], rows: int) -> dict[str, Any]:
        """What a model makes of its rows."""
        ids = arguments["input_ids"]
        assert len(ids) == rows
        self.calls.append(ids.tolist())
        return {"hidden": (ids[:, :1] * torch.tensor([1.0, 2.0, 3.0]) * self.value,), "pooled": ids.sum(-1).float()}

    def encode(self, *texts: list[int], method: str = "encoder", **options: Any) -> dict[str, Any]:
        """The output for *texts*, each a list of tokens; it must be what the model itself would have made."""
        arguments = {"input_ids": torch.tensor(list(texts)), "return_dict": True, **options}
        output = self.cache.output(method, arguments, len(texts), make=self.make)
        expected = [[token * n for n in (1.0, 2.0, 3.0)] for token, *_ in texts]
        assert output["hidden"][0].tolist() == expected
        assert output["pooled"].tolist() == [float(sum(text)) for text in texts]
        return output


def test_equal_rows_of_one_call_and_of_later_calls_are_computed_once() -> None:
    encoder = Encoder()
    encoder.encode([1, 7], [2, 7], [1, 7])
    encoder.encode([2, 7], [3, 7], [3, 7], [1, 7])
    encoder.encode([3, 7])
    encoder.encode([1, 8])

    assert encoder.calls == [[[1, 7], [2, 7]], [[3, 7]], [[1, 8]]]
    assert (encoder.cache.rows, encoder.cache.reused) == (9, 5)


@pytest.mark.parametrize(
    "other",
    [
        {"method": "second encoder"},
        {"output_hidden_states": True},
        {"attention_mask": torch.tensor([[1, 0]])},
        {"position_ids": torch.arange(2)},
    ],
)
def test_what_else_a_call_depends_on_keeps_its_rows_apart(other: dict[str, Any]) -> None:
    """Another text encoder, another option, another mask, and a tensor that all rows share."""
    encoder = Encoder()
    encoder.encode([1, 7])
    encoder.encode([1, 7], **other)
    encoder.encode([1, 7], **other)
    encoder.encode([1, 7], **{**other, **({"position_ids": torch.ones(2)} if "position_ids" in other else {})})

    assert len(encoder.calls) == (3 if "position_ids" in other else 2)


def test_a_call_within_autocast_has_rows_of_its_own() -> None:
    encoder = Encoder()
    encoder.encode([1, 7])
    with torch.autocast("cpu", torch.bfloat16):
        encoder.encode([1, 7])
    assert len(encoder.calls) == 2


def test_who_writes_into_an_output_spoils_no_other() -> None:
    encoder = Encoder()
    for texts in ([[1, 7]], [[1, 7]], [[1, 7], [1, 7]], [[1, 7], [4, 4]]):
        output = encoder.encode(*texts)
        output["hidden"][0].fill_(-1)
        output["pooled"].zero_()
    encoder.encode([1, 7], [4, 4])
    assert encoder.calls == [[[1, 7]], [[4, 4]]]


def test_the_rows_that_were_used_last_are_kept_within_the_bytes() -> None:
    encoder = Encoder(RowCache(2 * ROW_BYTES + 1))
    encoder.encode([1, 0], [2, 0])
    encoder.encode([1, 0])
    encoder.encode([3, 0])  # in place of 2
    encoder.encode([1, 0])
    assert encoder.calls == [[[1, 0], [2, 0]], [[3, 0]]]
    encoder.encode([2, 0])
    assert encoder.calls[-1] == [[2, 0]]
    encoder.encode([5, 0], [6, 0], [7, 0], [8, 0])  # more than it may keep
    encoder.encode([8, 0], [7, 0])
    assert len(encoder.calls) == 4


def test_rows_with_values_that_are_no_numbers_are_not_kept() -> None:
    """A device that failed once must not spoil all later jobs with that text."""
    encoder = Encoder(value=float("nan"))
    arguments = {"input_ids": torch.tensor([[1, 7]]), "return_dict": True}
    assert encoder.cache.output("encoder", arguments, 1, make=encoder.make)["hidden"][0].isnan().all()
    encoder.value = 1.0
    encoder.encode([1, 7])
    encoder.encode([1, 7])
    assert len(encoder.calls) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"inputs_embeds": torch.ones(2, 3)},
        {"input_ids": torch.tensor([[1], [1]]), "pixel_values": torch.ones(2, 3)},
        {"input_ids": torch.tensor([[1], [1]]), "extra": [torch.ones(1), torch.ones(1)]},
        {"input_ids": torch.tensor([[1], [1]]), "extra": {"mask": torch.ones(2, 1)}},
    ],
)
def test_rows_that_are_not_whole_numbers_are_left_to_the_model(arguments: dict[str, Any]) -> None:
    made: list[int] = []
    cache = RowCache(2**20)
    for _ in range(2):
        cache.output("encoder", arguments, 2, make=lambda _, rows: made.append(rows))
    assert made == [2, 2]


def test_an_output_that_has_no_rows_is_given_as_it_is() -> None:
    made: list[int] = []

    def make(_: dict[str, Any], rows: int) -> dict[str, Any]:
        made.append(rows)
        return {"hidden": torch.ones(rows, 1), "cache": object()}

    cache = RowCache(2**20)
    for _ in range(3):
        output = cache.output("encoder", {"input_ids": torch.tensor([[1], [1]])}, 2, make=make)
        assert output["hidden"].shape == (2, 1)
    assert made == [1, 2, 2, 2]


class Counter:
    """A shared method that keeps the rows of each call."""

    name = "forward"
    state = RunState.ENCODING

    def __init__(self) -> None:
        self.policy = JoinPolicy(unlimited(), is_joined=True, row_cache=RowCache(2**20))
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

    def call() -> None:
        runner.run_alone(method, (torch.tensor([[1]]),), {}, most_rows=8)  # pyright: ignore[reportArgumentType]

    call()
    call()
    assert method.calls == [1]
    with runner.recording() as recorded:
        call()
    assert method.calls == [1, 1]
    assert [each.rows for each in recorded] == [1]
