"""Schedulers: each job gets its own, because a scheduler remembers how far its job is."""

import copy
from typing import Any

from imagefleet_worker.errors import JobRejected


class Schedulers:
    """Makes schedulers for the runs of *pipe*; safe to use from many threads."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._unused: dict[str | None, Any] = {}

    def fresh(self, name: str | None) -> Any:
        """A scheduler for one run: the pipeline's own kind, or the compatible kind called *name*.

        Raises:
            JobRejected: where *name* does not fit the model, or needs a package that is not installed.
        """
        unused = self.check(name)
        # Copies are made five times as fast as new ones, of some kinds a thousand times. Nobody writes into a config.
        return copy.deepcopy(unused, {id(unused.config): unused.config})

    def check(self, name: str | None) -> Any:
        """The scheduler that `fresh` copies; it is never run. Raises as `fresh`."""
        if name not in self._unused:
            self._unused[name] = _make(self._pipe, name)
        return self._unused[name]


def _make(pipe: Any, name: str | None) -> Any:
    own = pipe.scheduler
    if name is None or name == type(own).__name__:
        return type(own).from_config(own.config)
    # `compatibles` is a property of the schedulers that share a mixin; others fit only themselves.
    kinds = {kind.__name__: kind for kind in getattr(own, "compatibles", [])}
    if name not in kinds:
        choices = ", ".join(sorted({type(own).__name__, *kinds}))
        raise JobRejected(f"scheduler: {name} does not fit {type(pipe).__name__}; choose one of {choices}")
    try:
        return kinds[name].from_config(own.config)
    except (ImportError, ValueError, TypeError) as error:
        raise JobRejected(f"scheduler: {name} cannot be used here: {error}") from error
