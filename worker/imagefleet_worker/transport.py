"""The transport: kombu's own for Redis, but messages are claimed under leases instead of popped.

Only what Celery consumes with acknowledgement is claimed; replies and broadcasts go kombu's way, as does all that is
sent. It leans on names that kombu does not promise, so kombu is pinned to one series and the fault suite runs in CI.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as stock

from imagefleet.queues import Keys
from imagefleet_worker.claimer import Claimer, Process
from imagefleet_worker.claims import Claimed
from imagefleet_worker.connections import connect
from imagefleet_worker.envelopes import Malformed
from imagefleet_worker.intake import Intake
from imagefleet_worker.leases import Leases
from imagefleet_worker.settings import Settings

_process: Process | None = None


def install(app: Any, settings: Settings, *, on_malformed: Callable[[Claimed, Malformed], None]) -> Leases:
    """Make the workers of this process claim; the URL of the broker stays what it is."""
    global _process  # noqa: PLW0603  # kombu makes transports by class name, so there is one per process
    keys = Keys(settings.redis.key_prefix)
    leases = Leases(
        connect(settings.redis),
        keys=keys,
        duration_s=settings.lease.duration_s,
        ended_ttl_s=settings.redis.result_ttl_s,
        tenant_jobs=settings.worker.tenant_jobs,
    )
    _process = Process(
        leases=leases,
        keys=keys,
        bell_client=connect(settings.redis, protocol=3),
        intake=Intake(leases, tasks=lambda: app.tasks, on_malformed=on_malformed),
    )
    # The held are counted here, also over a reconnect; Celery would count them a second time.
    app.conf.worker_enable_prefetch_count_reduction = False
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
    return leases


def _installed() -> Process:
    if _process is None:
        raise RuntimeError("install() comes first")
    return _process


class QoS(virtual.QoS):
    """Counts what the process holds, and ends claims; nothing of it is bound to a connection that may break."""

    restore_at_shutdown = False

    def can_consume(self) -> bool:
        """Whether one more message may be claimed."""
        channel: Any = self.channel
        if not channel.claims:  # replies and broadcasts are always read
            return True
        leases = _installed().leases
        return leases.is_claiming and not (self.prefetch_count and leases.is_full(self.prefetch_count))

    def append(self, message: Any, delivery_tag: str) -> None:
        """The claim has recorded it already."""

    def ack(self, delivery_tag: str) -> None:
        """End the claim."""
        _installed().leases.ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's signature
        """End the claim; with *requeue* the message goes back first in its list."""
        leases = _installed().leases
        if requeue:
            leases.give_back(delivery_tag)
        elif not _installed().intake.note_refusal(delivery_tag):
            leases.ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Nothing: a broken connection is no reason to run a running job again."""

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Nothing: the leases' own thread redelivers."""


class Claiming:
    """The part of a channel that claims; mixed into both of kombu's Redis channels."""

    QoS = QoS
    do_restore = False

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any) -> Any:  # noqa: FBT001  # kombu's signature
        """Consume *queue*; by claims unless it needs no acknowledgement."""
        if not no_ack and queue not in self._fanout_queues:  # type: ignore[attr-defined]  # kombu's
            self._claimer.add(queue)
        return super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)  # type: ignore[misc]  # kombu's

    def basic_cancel(self, consumer_tag: str) -> Any:
        """Stop consuming."""
        self._claimer.remove(self._tag_to_queue.get(consumer_tag))  # type: ignore[attr-defined]  # kombu's
        return super().basic_cancel(consumer_tag)  # type: ignore[misc]  # kombu's

    @property
    def active_queues(self) -> list[str]:
        """The queues that kombu pops from by itself."""
        claimed = self._claimer.queues
        return [queue for queue in super().active_queues if queue not in claimed]  # type: ignore[misc]  # kombu's

    @property
    def claims(self) -> bool:
        """Whether any queue is consumed by claims here."""
        return bool(self._claimer.queues)

    def claim_all(self) -> None:
        """Claim and deliver what the process can use."""
        self._claimer.claim_all()

    def close(self) -> None:
        """Close the channel; what the process holds, it goes on holding."""
        self._claimer.close()
        super().close()  # type: ignore[misc]  # kombu's

    @cached_property
    def _claimer(self) -> Claimer:
        def may_claim() -> bool:
            return self.qos.can_consume()  # type: ignore[attr-defined]  # kombu's

        def deliver(message: dict[str, Any], queue: str) -> None:
            self.connection._deliver(message, queue)  # type: ignore[attr-defined]  # noqa: SLF001  # kombu's way in

        return Claimer(_installed(), may_claim=may_claim, deliver=deliver)


class Poller(stock.MultiChannelPoller):
    """Claims at every turn of Celery's loop, besides what kombu does there."""

    def on_poll_start(self) -> None:
        """Called by the loop before it waits."""
        super().on_poll_start()
        for channel in list(self._channels):  # pyright: ignore[reportAttributeAccessIssue]  # kombu's, not in its stubs
            channel.claim_all()


class Channel(Claiming, stock.Channel):  # pyright: ignore[reportIncompatibleMethodOverride]  # the stubs are of kombu 5.5
    """A channel to one Redis server."""


class SentinelChannel(Claiming, stock.SentinelChannel):  # pyright: ignore[reportIncompatibleMethodOverride]  # the stubs are of kombu 5.5
    """A channel to the master that sentinels know."""


class Claims:
    """The part of a transport that claims."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let any thread wake the loop that claims."""
        super().register_with_event_loop(connection, loop)  # type: ignore[misc]  # kombu's
        _installed().loop = loop
        _installed().leases.wake = lambda: loop.call_soon(_nothing)


class Transport(Claims, stock.Transport):
    """For redis:// and rediss://."""

    Channel = Channel


class SentinelTransport(Claims, stock.SentinelTransport):
    """For sentinel://."""

    Channel = SentinelChannel


def _nothing() -> None:
    """Waking the loop is all."""
