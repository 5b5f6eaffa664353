"""Circuit breakers: limit what one process sends to one endpoint, so that a slow or dead one does not delay others.

A delivery whose endpoint is busy or failing is postponed, and occupies no thread. Each sender process has its own
circuit breakers: with n senders an endpoint gets n times the limit, and each sender notices for itself that it fails.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imagefleet_worker.queue.backoff import backoff_s
from imagefleet_worker.settings import WebhookSettings

_LONGEST_OPEN_S: Final = 300.0
#: Weight of the newest duration in the average.
_NEWEST: Final = 0.2
_LEAST_PAUSE_S: Final = 0.5


@dataclass(slots=True)
class _CircuitBreaker:
    running: int = 0
    failures: int = 0
    #: The breaker is open until this time: nothing is sent.
    open_until: float = 0.0
    #: Seconds that a delivery takes, on average.
    duration_s: float = 0.1
    #: When the next delivery that found the endpoint busy is to come back.
    next_turn: float = 0.0


class CircuitBreakers:
    """The circuit breakers of all endpoints of this process; safe to use from many threads."""

    def __init__(self, settings: WebhookSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._breakers: dict[str, _CircuitBreaker] = {}

    def enter(self, endpoint: str) -> float | None:
        """Begin a delivery to *endpoint*, and return None; or return the seconds after which to ask again.

        Deliveries that must wait come back at the rate at which the endpoint serves, so that few must wait twice.
        """
        now = self._clock()
        with self._lock:
            breaker = self._breakers.setdefault(endpoint, _CircuitBreaker())
            if breaker.open_until > now:
                return breaker.open_until - now + random.uniform(0, _LEAST_PAUSE_S)  # noqa: S311  # no secret
            is_half_open = breaker.failures >= self._settings.circuit_failures
            limit = 1 if is_half_open else self._settings.endpoint_concurrency
            if breaker.running < limit:
                breaker.running += 1
                return None
            breaker.next_turn = min(
                max(breaker.next_turn, now + _LEAST_PAUSE_S) + breaker.duration_s / limit, now + _LONGEST_OPEN_S
            )
            return breaker.next_turn - now

    def leave(self, endpoint: str, *, failed: bool, took_s: float, retry_after_s: float | None = None) -> None:
        """End a delivery to *endpoint* that `enter` began; *retry_after_s* is what the receiver asked for.

        The breaker is open for that time, but for five minutes at most.
        """
        now = self._clock()
        with self._lock:
            breaker = self._breakers[endpoint]
            breaker.running -= 1
            breaker.duration_s += _NEWEST * (took_s - breaker.duration_s)
            breaker.failures = breaker.failures + 1 if failed else 0
            over = breaker.failures - self._settings.circuit_failures
            if over >= 0:
                pause_s = backoff_s(over, base_s=self._settings.circuit_open_s, longest_s=_LONGEST_OPEN_S)
                breaker.open_until = now + pause_s
            if retry_after_s:
                breaker.open_until = max(breaker.open_until, now + min(retry_after_s, _LONGEST_OPEN_S))
            if not (failed or breaker.running or breaker.next_turn > now):
                del self._breakers[endpoint]
