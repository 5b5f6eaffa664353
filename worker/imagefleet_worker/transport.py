"""The transport: kombu's own for Redis, but messages are claimed under leases instead of popped.

Only what Celery consumes with acknowledgement is claimed; replies and broadcasts go kombu's way, as does all that is
sent. It leans on names that kombu does not promise, so kombu is pinned to one series and the fault suite runs in CI.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
import structlog
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as stock

from imagefleet.queues import Keys
from imagefleet_worker.claims import Claimed
from imagefleet_worker.connections import connect
from imagefleet_worker.doorbell import Doorbell
from imagefleet_worker.envelopes import Malformed
from imagefleet_worker.intake import Intake
from imagefleet_worker.leases import Leases
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)

#: How often an idle worker looks whether a tenant that had its share may run another job.
_CAPPED_PAUSE_S = 0.25


@dataclass
class _Worker:
    """What the channels of this process share; kombu makes them, so they find it here."""

    leases: Leases
    keys: Keys
    bell_client: "redis.Redis"
    intake: Intake
    #: Celery's event loop, once there is one.
    loop: Any = None


_worker: _Worker | None = None


def install(app: Any, settings: Settings, *, on_malformed: Callable[[Claimed, Malformed], None]) -> Leases:
    """Make the workers of this process claim; the URL of the broker stays what it is."""
    global _worker  # noqa: PLW0603  # kombu makes transports by class name, so there is one per process
    keys = Keys(settings.redis.key_prefix)
    leases = Leases(
        connect(settings.redis),
        keys=keys,
        duration_s=settings.lease.duration_s,
        ended_ttl_s=settings.redis.result_ttl_s,
        tenant_jobs=settings.worker.tenant_jobs,
    )
    _worker = _Worker(
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


def _installed() -> _Worker:
    if _worker is None:
        raise RuntimeError("install() comes first")
    return _worker


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
    #: Whether a message may be there; only the loop's thread reads and writes it.
    _has_rung: bool
    _is_claiming = False
    _bell: Doorbell

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any) -> Any:  # noqa: FBT001  # kombu's signature
        """Consume *queue*; by claims unless it needs no acknowledgement."""
        if not no_ack and queue not in self._fanout_queues:  # type: ignore[attr-defined]  # kombu's
            self._claimed_queues.append(queue)
            self._hang_bell()
        return super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)  # type: ignore[misc]  # kombu's

    def basic_cancel(self, consumer_tag: str) -> Any:
        """Stop consuming."""
        queue = self._tag_to_queue.get(consumer_tag)  # type: ignore[attr-defined]  # kombu's
        if queue in self._claimed_queues:
            self._claimed_queues.remove(queue)
            self._hang_bell()
        return super().basic_cancel(consumer_tag)  # type: ignore[misc]  # kombu's

    @property
    def active_queues(self) -> list[str]:
        """The queues that kombu pops from by itself."""
        claimed = self._claimed_queues
        return [queue for queue in super().active_queues if queue not in claimed]  # type: ignore[misc]  # kombu's

    @property
    def _claimed_queues(self) -> list[str]:
        return self.__dict__.setdefault("_claimed", [])

    @property
    def claims(self) -> bool:
        """Whether any queue is consumed by claims here."""
        return bool(self._claimed_queues)

    def claim_all(self) -> None:
        """Claim and deliver for as long as there are messages, and the process can use one."""
        if self._is_claiming:  # a bell that rings as it is told to wait; the turns below go on
            return
        leases, self._is_claiming = _installed().leases, True
        try:
            self._claim_while_rung(leases)
        finally:
            self._is_claiming = False

    def _claim_while_rung(self, leases: Leases) -> None:
        while self._claimed_queues and self._has_rung and self.qos.can_consume() and leases.gate():  # type: ignore[attr-defined]  # kombu's
            self._has_rung = False
            if self._claim_one():
                self._has_rung = True

    def _claim_one(self) -> bool:
        """Claim and deliver a message. Whether another may be there; else the bell rings in time."""
        worker = _installed()
        try:
            claimed = worker.leases.claim(self._claimed_queues)
            if claimed is not None:
                queue = next(each for each in self._claimed_queues if claimed.list_key in worker.keys.lists(each))
                worker.intake.take(claimed, queue, deliver=self.connection._deliver)  # type: ignore[attr-defined]  # noqa: SLF001  # kombu's way in
        except redis.ResponseError as error:  # read-only, or it cannot save: that may pass
            log.warning("redis refuses claims; asking every second", error=str(error))
            worker.loop.call_later(1.0, self._ring)
            return False
        if worker.leases.is_capped:  # the bell would ring at once
            worker.loop.call_later(_CAPPED_PAUSE_S, self._ring)
            return False
        if claimed is not None and claimed.is_more:
            return True
        self._bell.wait(in_vain=claimed is None)
        return False

    def _hang_bell(self) -> None:
        """Listen to the lists of the queues that are claimed now."""
        self._take_down_bell()
        self._has_rung = True
        worker, queues = _installed(), self._claimed_queues
        lists = [each for queue in queues for each in (*worker.keys.lists(queue), *worker.keys.lanes(queue))]
        if lists:
            bell = Doorbell(worker.bell_client, list_keys=lists, on_ring=self._ring, loop=worker.loop)
            self.__dict__["_bell"] = bell

    def _ring(self) -> None:
        self._has_rung = True
        self.claim_all()

    def _take_down_bell(self) -> None:
        bell: Doorbell | None = self.__dict__.pop("_bell", None)
        if bell:
            bell.close()

    def close(self) -> None:
        """Close the channel; what the process holds, it goes on holding."""
        self._take_down_bell()
        self._claimed_queues.clear()
        super().close()  # type: ignore[misc]  # kombu's


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
