"""Schedulers: each job gets its own, because a scheduler remembers how far its job is."""

import copy
import inspect
import json
from functools import lru_cache
from typing import Any, Final

import torch

from imagefleet.contract.jobs import GenerationJob
from imagefleet.errors import reason_of
from imagefleet_worker.diffusion.scheduler_options import check_options
from imagefleet_worker.errors import JobRejected

#: Kinds of schedulers with other options, and numbers of steps, that are kept; jobs choose both.
_MOST_KINDS: Final = 64
_MOST_COUNTS: Final = 512
#: Numbers of steps that are tried in order to name one that a scheduler can make.
_MOST_TRIED: Final = 100


class Schedulers:
    """Makes schedulers for the runs of *pipe*."""

    def __init__(self, pipe: Any) -> None:
        #: Whether the tables of new schedulers stay in the host's memory. Many schedulers look numbers up in them at
        #: each step, and reading one number from a device waits until that has done all its work. Those for flow
        #: matching do not, and their sums would be rounded in another way.
        self.keeps_tables_on_host = False
        #: Whether the pipeline uses another scheduler than the one that it is given.
        self.are_ignored = False
        self._pipe = pipe
        self._unused = lru_cache(_MOST_KINDS)(self._make)
        self._steps = lru_cache(_MOST_COUNTS)(self._count_steps)

    def fresh(self, job: GenerationJob) -> Any:
        """A scheduler for one run: the pipeline's own kind, or the one that *job* names, with its options.

        Raises:
            JobRejected: if it does not fit the model, or needs a package that is not installed.
        """
        unused = self._unused(job.scheduler, _options(job))
        scheduler = _copied(unused)
        is_for_flow = type(scheduler).__name__.startswith("FlowMatch")
        if self.keeps_tables_on_host and not is_for_flow and hasattr(scheduler, "set_timesteps"):
            scheduler.set_timesteps = _SetTimestepsOnHost(scheduler)
        return scheduler

    def steps_of(self, job: GenerationJob, *, default_steps: int) -> int:
        """The steps that the scheduler of *job* makes if `job.steps` are asked for.

        A scheduler that the job chooses may take more than one for each, as Heun's does. How the pipeline's own
        scheduler counts is what steps are for this model.

        Raises:
            JobRejected: if it cannot make as many or as few, and as `fresh`. *default_steps* are those that the
                pipeline's own kind can surely make.
        """
        name, options, steps = job.scheduler, _options(job), job.steps or default_steps
        self._unused(name, options)
        if self._can_make(name, options, steps):
            return self._steps(name, options, steps)
        if name is None and options == "{}" and not self._can_make(name, options, default_steps):
            return steps  # the pipeline sets its steps in another way than is tried here
        nearest = sorted(range(1, max(steps, default_steps) + 1), key=lambda other: abs(other - steps))[:_MOST_TRIED]
        other = next((each for each in nearest if self._can_make(name, options, each)), None)
        hint = "choose another scheduler" if other is None else f"the nearest number that it can make is {other}"
        raise JobRejected(f"steps: {name or type(self._pipe.scheduler).__name__} cannot make {steps}; {hint}")

    def _can_make(self, name: str | None, options: str, steps: int) -> bool:
        try:
            self._steps(name, options, steps)
        except Exception:  # noqa: BLE001  # whatever it raises, it cannot
            return False
        return True

    def _count_steps(self, name: str | None, options: str, steps: int) -> int:
        unused = self._unused(name, options)
        if not hasattr(unused, "set_timesteps"):
            return steps
        scheduler = _copied(unused)
        needs_mu = getattr(scheduler.config, "use_dynamic_shifting", False)
        scheduler.set_timesteps(steps, **({"mu": 1.0} if needs_mu else {}))
        if name is not None or options != "{}":
            return len(scheduler.timesteps)
        return int(getattr(scheduler, "num_inference_steps", None) or steps)

    def _make(self, name: str | None, options: str) -> Any:
        own = self._pipe.scheduler
        kinds = _kinds(own)
        given = json.loads(options)
        if name is not None and name not in kinds:
            choices = ", ".join(kind for kind in sorted(kinds) if self._can_be_made(kind))
            raise JobRejected(f"scheduler: {name} does not fit {type(self._pipe).__name__}; choose one of {choices}")
        kind = kinds[name or type(own).__name__]
        if given:
            check_options(kind, given)
        try:
            return kind.from_config(own.config, **given)
        except Exception as error:  # what a class says of options that do not go together, or of a missing package
            raise JobRejected(
                f"scheduler: {kind.__name__} cannot be used here: {reason_of(error)}; choose another"
            ) from error

    def _can_be_made(self, name: str) -> bool:
        try:
            self._unused(name, "{}")
        except JobRejected:
            return False
        return True


def _copied(unused: Any) -> Any:
    """A copy, which is made five times as fast as a new one, of some kinds a thousand times."""
    done: dict[int, Any] = {id(unused.config): unused.config}  # nobody writes into a config
    tables = [value for value in vars(unused).values() if isinstance(value, torch.Tensor)]
    done.update({id(table): table.clone() for table in tables})  # faster than copy.deepcopy
    return copy.deepcopy(unused, done)


class UseOfScheduler:
    """Whether a run sets the steps of *scheduler*, which `Schedulers.fresh` made; else the pipeline has another one."""

    _NAMES = ("num_inference_steps", "timesteps")

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._before = self._values()

    @property
    def has_begun(self) -> bool:
        """Whether its steps have been set since: that replaces the values, and changes none in place."""
        return any(now is not before for now, before in zip(self._values(), self._before, strict=True))

    @property
    def steps(self) -> int | None:
        """The steps that it was set to; None if it does not tell."""
        steps = getattr(self._scheduler, "num_inference_steps", None)
        return steps if isinstance(steps, int) else None

    def _values(self) -> list[Any]:
        return [getattr(self._scheduler, name, None) for name in self._NAMES]


class _SetTimestepsOnHost:
    """The method `set_timesteps` of *scheduler*, with its tables on the CPU whatever device is asked for.

    An object rather than a closure: a deep copy of the scheduler gets one of its own.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.__signature__ = inspect.signature(scheduler.set_timesteps)  # pipelines look what it takes

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = self.__signature__.bind(*args, **kwargs)
        if "device" in given.arguments:
            given.arguments["device"] = "cpu"
        return type(self._scheduler).set_timesteps(self._scheduler, *given.args, **given.kwargs)


def _kinds(own: Any) -> dict[str, Any]:
    """The classes that fit, by name: `compatibles` has those that share a mixin; others fit only themselves."""
    return {kind.__name__: kind for kind in (type(own), *getattr(own, "compatibles", []))}


def _options(job: GenerationJob) -> str:
    """The options as a key: the same for the same options."""
    return json.dumps(job.scheduler_options, sort_keys=True)
