"""A training loop that can go on where it stopped: each step's chance depends on its number alone."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

_CHECKPOINT_EVERY: Final = 250
_SHOW_EVERY: Final = 50
#: How much of each average of the weights stays at a step.
_AVERAGE: Final = 0.998

#: Gives the loss of a step from its number and a generator that belongs to the step.
Loss = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and how fast: the rate rises over *warm_up* steps, and falls to zero over the last *cool_down*."""

    steps: int
    rate: float
    cool_down: int
    warm_up: int = 100
    weight_decay: float = 0.01
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """The learning rate of *step*."""
        return self.rate * min((step + 1) / self.warm_up, 1, (self.steps - step) / self.cool_down)


def train(name: str, modules: Mapping[str, nn.Module], loss: Loss, plan: Plan, folder: Path) -> None:
    """Train those parameters of *modules* that want gradients, and leave their averages in them.

    A run that stopped goes on at its last checkpoint, `NAME.ckpt` in *folder*.
    """
    run = _Run(name, modules, plan, folder)
    began, first = time.monotonic(), run.step
    shown = 0.0
    while run.step < plan.steps:
        value = run.advance(loss)
        shown = value if run.step == first + 1 else 0.98 * shown + 0.02 * value
        if run.step % _SHOW_EVERY == 0:
            print(f"{name} {run.step}/{plan.steps} loss {shown:.4f} {time.monotonic() - began:.0f} s", flush=True)
        if run.step % _CHECKPOINT_EVERY == 0 or run.step == plan.steps:
            run.save()
    run.use_averages()


class _Run:
    """The optimizer, the averages and the number of the next step."""

    def __init__(self, name: str, modules: Mapping[str, nn.Module], plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._path = folder / f"{name}.ckpt"
        self._weights = {
            f"{part}.{key}": weight
            for part, module in modules.items()
            for key, weight in module.named_parameters()
            if weight.requires_grad
        }
        self._averages = {key: weight.detach().clone() for key, weight in self._weights.items()}
        self._optimizer = torch.optim.AdamW(
            self._weights.values(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay
        )
        self.step = 0
        if self._path.exists():
            self._load()

    def advance(self, loss: Loss) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.rate_at(self.step)
        generator = torch.Generator().manual_seed(self._plan.seed * 1_000_003 + self.step)
        value = loss(self.step, generator)
        self._optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(self._weights.values(), 1.0)
        self._optimizer.step()
        share = min(_AVERAGE, (1 + self.step) / (10 + self.step))  # early weights are soon forgotten
        with torch.no_grad():
            for key, weight in self._weights.items():
                self._averages[key].lerp_(weight, 1 - share)
        self.step += 1
        return value.item()

    def use_averages(self) -> None:
        with torch.no_grad():
            for key, weight in self._weights.items():
                weight.copy_(self._averages[key])

    def save(self) -> None:
        state = {
            "step": self.step,
            "weights": {key: weight.detach() for key, weight in self._weights.items()},
            "averages": self._averages,
            "optimizer": self._optimizer.state_dict(),
        }
        partial = self._path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._path)

    def _load(self) -> None:
        state = torch.load(self._path, weights_only=True)
        self.step = state["step"]
        self._averages = state["averages"]
        self._optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for key, weight in self._weights.items():
                weight.copy_(state["weights"][key])
