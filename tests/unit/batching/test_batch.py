"""Which parked calls make the next batch, and why the others stay behind."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from imagefleet_worker.batching.batch import TORCH_STATE, Apart, Call, next_batch, why_apart
from imagefleet_worker.batching.budget import BatchBudget
from imagefleet_worker.batching.collation import batch_key
from imagefleet_worker.batching.run import DeviceRun, RunState
from imagefleet_worker.batching.torch_state import TorchState

BUDGET = BatchBudget(max_rows=8, max_pixels=1_000)


class Method:
    """As much of a shared method as a batch looks at."""

    def __init__(self, state: RunState = RunState.DENOISING) -> None:
        self.state = state


DENOISER, ENCODER = Method(), Method(RunState.ENCODING)


def call(*, rows: int = 1, pixels: int = 1, method: Any = DENOISER, joins: bool = True, **arguments: Any) -> Call:
    """A call of a run of its own."""
    run = DeviceRun(lambda _run: None, cost=1, pixels=pixels)
    arguments = {"sample": torch.zeros(rows, 3)} | arguments
    state = TorchState.current()
    key = {TORCH_STATE: state} | batch_key(
        arguments, rows, digest=lambda t: tuple(t.flatten().tolist()), is_exact=False
    )
    return Call(run, method, arguments, rows, BUDGET, key if joins else None, state)


def test_the_oldest_and_those_that_go_with_it_make_the_batch() -> None:
    odd = call(sample=torch.zeros(1, 5))
    calls = [call(), odd, call(), call()]
    batch = next_batch(calls)
    assert batch.calls == [calls[0], calls[2], calls[3]]
    assert batch.left_behind == {Apart.SHAPE: 1}


def test_a_call_that_no_longer_fits_is_not_overtaken() -> None:
    calls = [call(rows=5), call(rows=4), call(rows=1)]
    batch = next_batch(calls)
    assert batch.calls == calls[:1]
    assert batch.left_behind == {Apart.BUDGET: 2}


def test_the_largest_image_bounds_the_rows() -> None:
    calls = [call(rows=2, pixels=100), call(rows=2, pixels=100), call(rows=2, pixels=500)]
    assert next_batch(calls).calls == calls[:2]


def test_a_call_above_the_budget_is_a_batch_of_its_own() -> None:
    calls = [call(rows=20), call()]
    assert next_batch(calls).calls == calls[:1]


def test_runs_that_are_still_encoding_go_first() -> None:
    calls = [call(), call(method=ENCODER), call(), call(method=ENCODER)]
    assert next_batch(calls).calls == [calls[1], calls[3]]


def test_each_reason_has_its_name() -> None:
    one = call(scale=1.0, ids=torch.zeros(7))
    with torch.no_grad():
        in_no_grad = call(scale=1.0, ids=torch.zeros(7))
    reasons = {
        Apart.METHOD: call(method=ENCODER, scale=1.0, ids=torch.zeros(7)),
        Apart.UNJOINABLE: call(joins=False),
        Apart.TORCH_STATE: in_no_grad,
        Apart.ARGUMENTS: call(scale=1.0),
        Apart.SHAPE: call(sample=torch.zeros(1, 4), scale=1.0, ids=torch.zeros(7)),
        Apart.VALUE: call(scale=2.0, ids=torch.zeros(7)),
    }
    assert {reason: why_apart(one, other) for reason, other in reasons.items()} == {each: each for each in reasons}
    assert why_apart(one, call(scale=1.0, ids=torch.zeros(7))) is None
    assert why_apart(one, call(scale=1.0, ids=torch.ones(7))) is Apart.VALUE


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.sampled_from([3, 5]), st.sampled_from([1, 300]), st.booleans()), max_size=30
    )
)
def test_every_call_is_served_and_no_batch_is_above_the_budget(kinds: list[tuple[int, int, int, bool]]) -> None:
    parked = [
        call(rows=rows, pixels=pixels, method=ENCODER if encodes else DENOISER, sample=torch.zeros(rows, width))
        for rows, width, pixels, encodes in kinds
    ]
    served: list[Call] = []
    while parked:
        batch = next_batch(parked)
        assert batch.calls
        assert len(batch.calls) == 1 or batch.rows <= BUDGET.rows(batch.pixels)
        assert len(batch.calls) + sum(batch.left_behind.values()) == len(parked)
        assert len({each.arguments["sample"].shape[1] for each in batch.calls}) == 1
        served += batch.calls
        parked = [each for each in parked if each not in batch.calls]
    assert len(served) == len(kinds)
