"""Circuits: what one process sends to one endpoint at a time, so that a slow or dead one holds up no other.

A delivery that finds its endpoint busy or failing is put back for a while and occupies no thread. Each sender process
keeps its own books: with n senders an endpoint gets n times the limit, and each finds out for itself that one is dead.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imagefleet_worker.settings import WebhookSettings

_LONGEST_OPEN_S: Final = 300.0
#: Weight of the newest duration in the average.
_NEWEST: Final = 0.2
_LEAST_PAUSE_S: Final = 0.5


@dataclass(slots=True)
class _Circuit:
    running: int = 0
    failures: int = 0
    #: No delivery before this time.
    resting_until: float = 0.0
    #: Seconds that a delivery takes, on average.
    duration_s: float = 0.1
    #: When the next delivery that found no room is to come back.
    next_turn: float = 0.0


class Circuits:
    """The circuits of all endpoints of this process; safe to use from many threads."""

    def __init__(self, settings: WebhookSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    def enter(self, endpoint: str) -> float | None:
        """Begin a delivery to *endpoint*; or the seconds after which to ask again, where it is not its turn.

        Those that have to wait get turns at the rate at which the endpoint serves, so that few ask in vain again.
        """
        now = self._clock()
        with self._lock:
            circuit = self._circuits.setdefault(endpoint, _Circuit())
            if circuit.resting_until > now:
                return circuit.resting_until - now + random.uniform(0, _LEAST_PAUSE_S)  # noqa: S311  # no secret
            is_doubtful = circuit.failures >= self._settings.circuit_failures
            room = 1 if is_doubtful else self._settings.endpoint_concurrency
            if circuit.running < room:
                circuit.running += 1
                return None
            circuit.next_turn = min(
                max(circuit.next_turn, now + _LEAST_PAUSE_S) + circuit.duration_s / room, now + _LONGEST_OPEN_S
            )
            return circuit.next_turn - now

    def leave(self, endpoint: str, *, failed: bool, took_s: float, retry_after_s: float | None = None) -> None:
        """End a delivery to *endpoint* that was entered; *retry_after_s* is what the receiver asked for.

        The delivery itself waits as long as that; all others to the endpoint do so for five minutes at most.
        """
        now = self._clock()
        with self._lock:
            circuit = self._circuits[endpoint]
            circuit.running -= 1
            circuit.duration_s += _NEWEST * (took_s - circuit.duration_s)
            circuit.failures = circuit.failures + 1 if failed else 0
            over = circuit.failures - self._settings.circuit_failures
            if over >= 0:
                pause_s = min(self._settings.circuit_open_s * 2 ** min(over, 16), _LONGEST_OPEN_S)
                circuit.resting_until = now + random.uniform(pause_s / 2, pause_s)  # noqa: S311  # no secret
            if retry_after_s:
                circuit.resting_until = max(circuit.resting_until, now + min(retry_after_s, _LONGEST_OPEN_S))
            if not (failed or circuit.running or circuit.next_turn > now):
                del self._circuits[endpoint]
