"""Stopwatches: how long the messages of a killed worker stay where nobody works on them."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

#: Tells which of the given claims are no longer those of the killed worker.
Released = Callable[[list[Hashable]], Iterable[Hashable]]


@dataclass
class _Watch:
    claim: Hashable
    killed_at: float


@dataclass
class Redeliveries:
    """All stopwatches of one storm; those that a restart of Redis fell into are told apart."""

    released: Released
    grace_s: float
    seconds: list[float] = field(default_factory=list)
    seconds_with_restart: list[float] = field(default_factory=list)
    _running: list[_Watch] = field(default_factory=list)
    _restarts: list[float] = field(default_factory=list)

    def start(self, claims: Iterable[Hashable], *, killed_at: float) -> None:
        """Start a stopwatch for each of *claims*."""
        self._running += [_Watch(claim, killed_at) for claim in claims]

    def redis_restarted(self, now: float) -> None:
        """Note a restart: whoever holds a lease gets one more lease to come back."""
        self._restarts.append(now)

    def poll(self, now: float) -> None:
        """Stop the watches of claims that are free."""
        if not self._running:
            return
        free = set(self.released([watch.claim for watch in self._running]))
        for watch in self._running:
            if watch.claim in free:
                self._note(watch, now)
        self._running = [watch for watch in self._running if watch.claim not in free]

    @property
    def waiting(self) -> int:
        """How many claims are still the killed worker's."""
        return len(self._running)

    def _note(self, watch: _Watch, now: float) -> None:
        restarted = any(watch.killed_at - self.grace_s <= moment <= now for moment in self._restarts)
        (self.seconds_with_restart if restarted else self.seconds).append(now - watch.killed_at)
