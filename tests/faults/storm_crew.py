"""The workers of a storm: each killed one is replaced at once, under a new name."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from imagefleet_worker.children import Child
from imagefleet_worker.local_fleet import is_ready

_LEFT_ALIVE = 1


@dataclass
class Seat:
    """One place of the crew, and who sits there now."""

    name: str
    child: Child

    @property
    def is_ready(self) -> bool:
        """Whether the worker takes jobs."""
        return self.child.is_running and is_ready(self.child)


class Crew:
    """As many workers as there are seats; a name is used once, so that it says which process did something."""

    def __init__(self, seats: int, *, start: Callable[[str], Child]) -> None:
        """Start *seats* workers with *start* and do not wait for them."""
        self._start = start
        self._born = 0
        #: How workers ended that nobody had killed: by exit code.
        self.own_ends: Counter[int] = Counter()
        self.last_words: list[str] = []
        self._seats = [self._fill() for _ in range(seats)]

    def tend(self) -> None:
        """Replace workers that ended by themselves."""
        for index, seat in enumerate(self._seats):
            if not seat.child.is_running:
                self.own_ends[seat.child.exit_code or 0] += 1
                self.last_words.append(seat.child.last_words(12))
                self._seats[index] = self._fill()

    def kill_one(self, chance: random.Random) -> tuple[str, float] | None:
        """Kill a ready worker as a crash would and replace it; its name and when.

        None where it would be the last: what a dead one held is redelivered by those who live.
        """
        ready = [index for index, seat in enumerate(self._seats) if seat.is_ready]
        if len(ready) <= _LEFT_ALIVE:
            return None
        index = chance.choice(ready)
        victim = self._seats[index]
        victim.child.kill()
        moment = time.monotonic()
        self._seats[index] = self._fill()
        return victim.name, moment

    @property
    def ready(self) -> int:
        """How many take jobs now."""
        return sum(seat.is_ready for seat in self._seats)

    def _fill(self) -> Seat:
        self._born += 1
        name = f"storm{self._born}"
        return Seat(name, self._start(name))
