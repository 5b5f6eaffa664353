"""The transport of a process that is no worker: kombu's, which purges and counts all that waits in a queue.

Kombu knows neither the urgent list of a queue, nor the lanes of its tenants, nor what waits for a time.
"""

from collections.abc import Callable

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as stock

from imagefleet.store.keys import Keys
from imagefleet_worker.queue.purge import Purge


def _nobody(_: str) -> None:
    """Nobody wants to hear of a message that was removed."""


_on_purged: Callable[[str], None] = _nobody


def install(on_purged: Callable[[str], None] = _nobody) -> None:
    """Make `celery purge` see all that waits, in this process; `transport.install` does so in a worker.

    *on_purged* is called with each message that was removed.
    """
    global _on_purged  # noqa: PLW0603  # kombu makes transports by class name, and gives them no context
    _on_purged = on_purged
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:PurgingTransport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:PurgingSentinelTransport"


class PurgingChannelMixin:
    """Purges and counts all that waits in a queue, for `celery purge` and the like."""

    def _purge(self, queue: str) -> int:
        return self._purger().purge(queue)

    def _size(self, queue: str) -> int:
        return self._purger().size(queue)

    def _purger(self) -> Purge:
        # Kombu's own client adds the prefix to keys; our keys have it.
        client = redis.Redis(connection_pool=self.pool)  # type: ignore[attr-defined]  # kombu's
        return Purge(client, keys=Keys(self.global_keyprefix), on_purged=_on_purged)  # type: ignore[attr-defined]  # kombu's


class PurgingChannel(PurgingChannelMixin, stock.Channel):
    """A channel of a process that is no worker."""


class PurgingSentinelChannel(PurgingChannelMixin, stock.SentinelChannel):
    """The same, to the master that sentinels know."""


class PurgingTransport(stock.Transport):
    """For redis:// and rediss://, in a process that is no worker."""

    Channel = PurgingChannel


class PurgingSentinelTransport(stock.SentinelTransport):
    """For sentinel://, in a process that is no worker."""

    Channel = PurgingSentinelChannel
