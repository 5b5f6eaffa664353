"""A shared method: the method of one of the pipeline's modules at which runs park, so that their calls become one."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from imagefleet_worker.batching import collation
from imagefleet_worker.batching.batch import TORCH_STATE, BatchKey, Call
from imagefleet_worker.batching.batch_runner import BatchRunner
from imagefleet_worker.batching.budget import BatchBudget, unlimited
from imagefleet_worker.batching.collation import Arguments, Unjoinable
from imagefleet_worker.batching.run import DeviceRun, RunState
from imagefleet_worker.batching.torch_state import TorchState

#: A language model that encodes a prompt would hand out its keys and values for the next word, which nobody asks for,
#: in an object whose rows cannot be told.
_USE_CACHE: Final = "use_cache"


class Parking(Protocol):
    """What a shared method needs of the device loop."""

    base_state: TorchState

    def current_run(self) -> DeviceRun | None:
        """The run whose code calls; None outside of runs."""
        ...

    def is_alone(self, run: DeviceRun) -> bool:
        """Whether no other run is on the device or could begin."""
        ...

    def park(self, calls: list[Call]) -> None:
        """Let the other runs go on until all *calls*, which are of one run, have an output or an error."""
        ...


@dataclass(slots=True)
class JoinPolicy:
    """How the calls of a shared method are served; changed only between batches."""

    budget: BatchBudget
    #: Whether calls of different runs may share a forward.
    is_joined: bool
    #: Every forward is filled up to this many rows, so that a row's values do not depend on the number of rows.
    fixed_rows: int | None = None
    #: Whether what the method made of its last rows is kept, for calls with equal ones.
    keeps_rows: bool = False

    def forbid_joining(self) -> None:
        """From now on, make each call as it comes."""
        self.is_joined, self.fixed_rows, self.keeps_rows, self.budget = False, None, False, unlimited()


class SharedMethod:
    """Takes the place of the method *name* of *owner* until `close`. A call of it moves its run on to *state*."""

    def __init__(
        self, loop: Parking, runner: BatchRunner, owner: Any, name: str, *, state: RunState, policy: JoinPolicy
    ) -> None:
        self.name = name
        self.function: Callable[..., Any] = getattr(owner, name)
        self.policy = policy
        self.state = state
        self._loop = loop
        self._runner = runner
        self._owner = owner
        self._own = vars(owner).get(name)  # put there by offload and the like
        self._binder = collation.Binder(self.function)
        self._may_cache = state is RunState.ENCODING and self._binder.takes(_USE_CACHE)

        @functools.wraps(self.function)  # libraries look what it takes
        def shared(*args: Any, **kwargs: Any) -> Any:
            return self._call(args, kwargs)

        setattr(owner, name, shared)

    def close(self) -> None:
        """Give the module its own method back."""
        delattr(self._owner, self.name)
        if self._own is not None:
            setattr(self._owner, self.name, self._own)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Arguments, int]:
        """As `Binder.bind`."""
        return self._binder.bind(args, kwargs=kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        run = self._loop.current_run()
        if run is None:
            return self.function(*args, **kwargs)
        run.advance(self.state)
        if self.state is RunState.DENOISING and run.on_call is not None:
            run.on_call()
        policy = self.policy
        if self._may_cache and policy.is_joined and kwargs.get("past_key_values") is None:
            kwargs.setdefault(_USE_CACHE, False)
        if (not policy.is_joined or self._loop.is_alone(run)) and policy.fixed_rows is None:
            output = self._runner.run_alone(self, args, kwargs, most_rows=policy.budget.rows(run.pixels))
        else:
            output = self._park(run, args, kwargs)
        if self.state is RunState.DECODING:
            run.note_decoded(output)
        return output

    def _park(self, run: DeviceRun, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            arguments, rows = self.bind(args, kwargs)
            state = TorchState.current()
            calls = self._calls(run, arguments, rows, state)
        except Unjoinable as reason:
            return self._runner.run_unjoinable(self, args, kwargs, reason=reason)
        if state == self._loop.base_state:
            self._loop.park(calls)
        else:
            with self._loop.base_state.active():
                self._loop.park(calls)
        error = next((call.error for call in calls if call.error is not None), None)
        if error is not None:
            for call in calls:
                call.error = None
            try:
                raise error
            finally:
                del error  # as in `BatchRunner.serve`
        outputs = [call.output for call in calls]
        return collation.join_outputs(outputs, counts=[call.rows for call in calls])

    def _calls(self, run: DeviceRun, arguments: Arguments, rows: int, state: TorchState) -> list[Call]:
        """One call, or one for each row if rows of different sizes must each find their like."""
        is_exact = self.policy.fixed_rows is not None
        parts = [(arguments, rows)]
        if is_exact and collation.has_lists(arguments, rows):
            parts = [(collation.slice_rows(arguments, rows, start=i, stop=i + 1), 1) for i in range(rows)]

        def key(part: Arguments, count: int) -> BatchKey | None:
            if not self.policy.is_joined:
                return None
            return {TORCH_STATE: state} | collation.batch_key(part, count, digest=run.digests.of, is_exact=is_exact)

        return [Call(run, self, part, count, self.policy.budget, key(part, count), state) for part, count in parts]
