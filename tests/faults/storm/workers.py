"""The workers of a storm: each killed one is replaced at once, under a new name."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.fleet.processes import is_ready

from imagefleet_worker.supervision.child_process import ChildProcess

_LEFT_ALIVE = 1


@dataclass
class Slot:
    """One of the workers that a storm keeps running, whichever process it is now."""

    name: str
    child: ChildProcess
    #: When a worker that is stopped goes on, by the monotonic clock.
    goes_on_at: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the worker takes jobs."""
        return self.goes_on_at is None and self.child.is_running and is_ready(self.child)


class StormWorkers:
    """As many workers as there are slots; a name is used once, so that it says which process did something."""

    def __init__(self, slots: int, *, start: Callable[[str], ChildProcess]) -> None:
        """Start *slots* workers with *start* and do not wait for them."""
        self._start = start
        self._born = 0
        #: How workers ended that nobody had killed: by exit code.
        self.own_ends: Counter[int] = Counter()
        self.last_words: list[str] = []
        self._slots = [self._fill() for _ in range(slots)]

    def tend(self) -> None:
        """Replace workers that ended by themselves, and let those go on that were stopped for long enough."""
        for index, slot in enumerate(self._slots):
            if slot.goes_on_at is not None and time.monotonic() >= slot.goes_on_at:
                slot.child.send(signal.SIGCONT)
                slot.goes_on_at = None
            if not slot.child.is_running:
                self.own_ends[slot.child.exit_code or 0] += 1
                self.last_words.append(slot.child.log_tail(12))
                self._slots[index] = self._fill()

    def stop_one(self, chance: random.Random, *, for_s: float) -> tuple[str, float] | None:
        """Stop a ready worker with SIGSTOP for *for_s* seconds; its name and when, None as `end_one`."""
        ready = [slot for slot in self._slots if slot.is_ready]
        if len(ready) <= _LEFT_ALIVE:
            return None
        slot = chance.choice(ready)
        slot.child.send(signal.SIGSTOP)
        slot.goes_on_at = time.monotonic() + for_s
        return slot.name, time.monotonic()

    @property
    def has_stopped(self) -> bool:
        """Whether one is stopped now."""
        return any(slot.goes_on_at is not None for slot in self._slots)

    def end_one(self, chance: random.Random, *, asked: bool) -> tuple[str, float] | None:
        """Kill a ready worker as a crash would, or ask it to give back what it runs (SIGQUIT); its name and when.

        Another one takes its place. None where it would be the last: what a dead one held is redelivered by those who
        live.
        """
        ready = [index for index, slot in enumerate(self._slots) if slot.is_ready]
        if len(ready) <= _LEFT_ALIVE:
            return None
        index = chance.choice(ready)
        victim = self._slots[index]
        if asked:
            victim.child.send(signal.SIGQUIT)
        else:
            victim.child.kill()
        moment = time.monotonic()
        self._slots[index] = self._fill()
        return victim.name, moment

    @property
    def ready(self) -> int:
        """How many take jobs now."""
        return sum(slot.is_ready for slot in self._slots)

    def _fill(self) -> Slot:
        self._born += 1
        name = f"storm{self._born}"
        return Slot(name, self._start(name))
