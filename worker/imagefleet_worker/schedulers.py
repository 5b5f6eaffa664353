"""Schedulers: each job gets its own, because a scheduler remembers how far its job is."""

from typing import Any

from imagefleet_worker.errors import JobRejected


def make_scheduler(pipe: Any, name: str | None) -> Any:
    """A fresh scheduler for one run of *pipe*: its own kind, or the compatible kind called *name*.

    Raises:
        JobRejected: where *name* does not fit the model, or needs a package that is not installed.
    """
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
