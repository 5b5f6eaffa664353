"""The engine handle: what the parts of a process may ask of its engine, before and after the model is loaded.

Heartbeat, metrics and registration start before the model is loaded, so they get this handle instead of the engine.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch, which a sender of webhooks does without
    from imagefleet_worker.diffusion.engine import Engine


class EngineHandle:
    """The engine of this process; empty until `attach`, and for ever in a sender of webhooks."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._stop: Callable[[], None] = _nothing
        self._has_room: Callable[[], bool] = _always
        #: Whether the worker tests itself; meanwhile it takes no job.
        self.is_held = False
        #: How many jobs have failed in a row.
        self.failures: Callable[[], int] = _none

    def attach(self, engine: "Engine", *, stop: Callable[[], None], has_room: Callable[[], bool]) -> None:
        """Take the loaded *engine*.

        *stop* ends what runs for it outside of this process; *has_room* says whether what it makes could be kept.
        """
        self._engine, self._stop, self._has_room = engine, stop, has_room

    def stop(self) -> None:
        """End what runs for the engine outside of this process: the other ranks of a device group."""
        self._stop()

    @property
    def device_name(self) -> str | None:
        """The device, for people."""
        return self._engine.device_name if self._engine else None

    @property
    def revision(self) -> str | None:
        """The revision of the weights."""
        return self._engine.revision if self._engine else None

    @property
    def joining(self) -> str | None:
        """What the warm-up found about joining: `proved`, or `refused: ` and the reason; None if nothing is joined."""
        proof = self._engine.joining if self._engine else None
        if proof is None:
            return None
        return "proved" if proof.is_proved else f"refused: {proof.reason}"

    def stats(self) -> Mapping[str, float]:
        """As `Engine.stats`."""
        return self._engine.stats() if self._engine else {}

    def memory(self) -> Mapping[str, float]:
        """As `Engine.memory`."""
        return self._engine.memory() if self._engine else {}

    def has_capacity(self, *, coming: int, concurrency_limit: int | None) -> bool:
        """As `Engine.has_capacity`, if there is room for what it makes and it is not held; true without an engine."""
        if self._engine is None:
            return True
        if self.is_held:
            return False
        return self._has_room() and self._engine.has_capacity(coming=coming, concurrency_limit=concurrency_limit)


def _none() -> int:
    """No job has failed."""
    return 0


def _always() -> bool:
    """There is room for anything."""
    return True


def _nothing() -> None:
    """Nothing runs outside of this process."""
