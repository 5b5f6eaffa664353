"""What a job sets for its own calls does not leak into those of the jobs beside it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch

from imagefleet_worker.batching.admission import Admission
from imagefleet_worker.batching.batch_runner import BatchRunner
from imagefleet_worker.batching.budget import BatchBudget
from imagefleet_worker.batching.device_loop import DeviceLoop
from imagefleet_worker.batching.device_timer import DeviceTimer
from imagefleet_worker.batching.run import DeviceRun, RunState
from imagefleet_worker.batching.shared_method import JoinPolicy
from imagefleet_worker.batching.torch_state import TorchState

CPU = torch.device("cpu")


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Torch has no context of its own for it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


CONTEXTS: dict[str, Any] = {
    "enable_grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "not inference_mode": lambda: torch.inference_mode(mode=False),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast without cache": lambda: torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False),
    "default dtype": lambda: default_dtype(torch.float64),
    "attention kernels": lambda: torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    "function mode": lambda: torch.device("cpu"),
}


class Witness(torch.nn.Module):
    """Notes the state of each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, TorchState]] = []

    def forward(self, sample: torch.Tensor) -> tuple[torch.Tensor]:
        """Its input."""
        self.seen.append((len(sample), TorchState.current()))
        return (sample + 0,)


@pytest.mark.parametrize("base", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", CONTEXTS)
def test_a_job_parks_within_a_context_and_no_other_job_sees_it(base: Any, name: str) -> None:
    budget = BatchBudget(max_rows=64, max_pixels=1_000)
    runner = BatchRunner(CPU, timer=DeviceTimer(CPU), graphs=None)
    loop = DeviceLoop(runner=runner, admission=Admission(8, budget=budget, on_capacity=lambda: None), grad_mode=base)
    module = Witness()
    loop.share(module, "forward", state=RunState.DENOISING, policy=JoinPolicy(budget, is_joined=True))
    outside: list[TorchState] = []
    inside: list[TorchState] = []

    def within(context: AbstractContextManager[Any] | None, steps: int) -> None:
        before = TorchState.current()
        for _ in range(steps):
            if context is None:
                module(torch.zeros(1, 3))
                outside.append(TorchState.current())
                continue
            with CONTEXTS[name]():
                expected = TorchState.current()
                module(torch.zeros(2, 3))
                inside.append(TorchState.current())
                assert inside[-1] == expected
        assert TorchState.current() == before

    marked = [DeviceRun(lambda _run: within(CONTEXTS[name](), 4), cost=1, pixels=1) for _ in range(2)]
    plain = [DeviceRun(lambda _run: within(None, 6), cost=1, pixels=1) for _ in range(2)]
    loop.start()
    loop.submit([marked[0], plain[0], marked[1], plain[1]])
    for run in (*marked, *plain):
        run.result()
    state = loop.call(TorchState.current)
    loop.close()
    assert set(outside) == {loop.base_state}
    assert state == loop.base_state
    assert set(inside) <= {each for _, each in module.seen}, "a forward ran without its context"
    assert {each for _, each in module.seen} <= {*inside, loop.base_state}
