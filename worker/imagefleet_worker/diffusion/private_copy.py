"""The private copy: the pipeline of one job, which shares all modules with the others and has its own scheduler."""

import copy
from collections.abc import Sequence
from typing import Any

from imagefleet_worker.diffusion.module_view import views_of


class PrivateCopies:
    """Makes copies of *pipe*, whose modules stay where they are from now on.

    Each has its own *guiders*, the parts with these names: they remember what the steps of a job gave so far.

    A pipeline finds its device by a walk through all modules, several times a job. That is a tenth of the time of a job
    of a small model, and the answer is always the same: so it is found once, and given by the copies' class.
    """

    def __init__(self, pipe: Any, *, guiders: Sequence[str] = ()) -> None:
        self._pipe = pipe
        self._views = views_of(pipe)
        self._guiders = guiders
        kind, device = type(pipe), pipe._execution_device  # noqa: SLF001  # diffusers has no public name for it
        self._kind = type(kind.__name__, (kind,), {"_execution_device": property(lambda _pipe: device)})
        self._kind.__module__ = kind.__module__

    def make(self, scheduler: Any) -> Any:
        """A copy for one job, with *scheduler*."""
        private = copy.copy(self._pipe)
        private.__class__ = self._kind
        vars(private).update(self._views)
        private.scheduler = scheduler
        for name in self._guiders:
            setattr(private, name, copy.deepcopy(getattr(private, name)))
        return private
