"""The next batch: which of the parked calls are served by one forward, and why the others are not."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from imagefleet_worker.batching.budget import BatchBudget
from imagefleet_worker.batching.collation import Arguments
from imagefleet_worker.batching.run import DeviceRun, RunState
from imagefleet_worker.batching.torch_state import TorchState

#: What must be equal for two calls to share a forward, by the name of the argument or of the setting.
BatchKey = dict[str, Hashable]


class Apart(StrEnum):
    """Why a call is not in the batch of another."""

    METHOD = "method"
    """It is a call of another part of the pipeline."""
    UNJOINABLE = "unjoinable"
    """One of them can be joined with none."""
    TORCH_STATE = "torch_state"
    """One runs within autocast or the like."""
    ARGUMENTS = "arguments"
    """They have arguments of other names."""
    SHAPE = "shape"
    """A tensor has another size, number format or device."""
    VALUE = "value"
    """An argument that all rows share has another value."""
    BUDGET = "budget"
    """The batch would have more rows or pixels than the budget allows."""


@dataclass(slots=True, eq=False)
class Call:
    """Rows of one call, for which one run waits."""

    run: DeviceRun
    #: The shared method that was called.
    method: Any
    arguments: Arguments
    rows: int
    budget: BatchBudget
    #: None if the call cannot be joined with any other.
    key: BatchKey | None
    #: What the run has set round its call; the forward is made within it.
    state: TorchState
    output: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Batch:
    """Calls that one forward serves, and how many of the parked calls stay behind for which reason."""

    calls: list[Call]
    rows: int
    pixels: int
    left_behind: Counter[Apart] = field(default_factory=Counter[Apart])


def next_batch(parked: Sequence[Call]) -> Batch:
    """The oldest of *parked*, which are in the order of their arrival, and the next oldest that go together with it.

    They have at most the rows that the budget allows for the largest of their images, or are one call. A call that no
    longer fits ends the batch, so that no later one overtakes it. Runs that are still encoding go first: they are few,
    and the next forward of the denoiser is the fuller for them.
    """
    first = next((call for call in parked if call.method.state is RunState.ENCODING), parked[0])
    batch = Batch([first], rows=first.rows, pixels=first.run.pixels)
    is_full = False
    for call in parked:
        if call is first:
            continue
        reason = Apart.BUDGET if is_full and call.key == first.key else why_apart(first, call)
        if reason is None:
            rows, pixels = batch.rows + call.rows, max(batch.pixels, call.run.pixels)
            if rows <= first.budget.rows(pixels):
                batch.calls.append(call)
                batch.rows, batch.pixels = rows, pixels
                continue
            is_full, reason = True, Apart.BUDGET
        batch.left_behind[reason] += 1
    return batch


def why_apart(one: Call, other: Call) -> Apart | None:
    """Why the two calls cannot share a forward; None if they can."""
    if one.method is not other.method:
        return Apart.METHOD
    if one.key is None or other.key is None:
        return Apart.UNJOINABLE
    if one.key == other.key:
        return None
    if one.key.keys() != other.key.keys():
        return Apart.ARGUMENTS
    name = next(name for name, value in one.key.items() if value != other.key[name])
    if name == TORCH_STATE:
        return Apart.TORCH_STATE
    return Apart.SHAPE if _is_of_rows(one.key[name]) and _is_of_rows(other.key[name]) else Apart.VALUE


#: Key of the torch state among the names of arguments.
TORCH_STATE = "(torch state)"


def _is_of_rows(component: Hashable) -> bool:
    return isinstance(component, tuple) and bool(component) and component[0] in {"rows", "list"}
