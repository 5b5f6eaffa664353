"""The transport: kombu's transport for Redis, which claims messages under leases instead of popping them.

It claims only what Celery consumes with acknowledgement. Kombu itself reads replies and broadcasts, and sends all
messages. The transport uses names that kombu does not promise. So kombu is pinned to one series, and the fault suite
runs in CI.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as stock
from kombu.utils.json import loads

from imagefleet.store.keys import Keys
from imagefleet.store.redis_connections import leaving_replicas
from imagefleet_worker.queue.claimer import Claimer, ClaimerShared
from imagefleet_worker.queue.claims import Claimed
from imagefleet_worker.queue.dispatcher import Dispatcher
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.queue.loop_waker import LoopWaker
from imagefleet_worker.queue.message_check import MalformedMessage
from imagefleet_worker.queue.purging_transport import PurgingChannelMixin
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.queue.result_backend import BACKENDS
from imagefleet_worker.settings import Settings

_process: ClaimerShared | None = None


def install(app: Any) -> None:
    """Make the workers of this process claim, and store results. The URLs of broker and backend do not change.

    It must come before Celery looks the transport up, which it does early; `claim_with` comes before Celery connects.
    """
    # Leases count the held messages, also after a reconnect; Celery would count them a second time.
    app.conf.worker_enable_prefetch_count_reduction = False
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
    app.loader.override_backends = BACKENDS


def claim_with(
    settings: Settings,
    leases: Leases,
    *,
    tasks: Callable[[], Mapping[str, Any]],
    waker: LoopWaker,
    can_use_one: Callable[[], bool] = lambda: True,
    on_malformed: Callable[[Claimed, MalformedMessage], None],
    leave: Callable[[str], None],
    unserved: Collection[str] = (),
) -> None:
    """Give the transports of this process what they claim with.

    Before each claim *can_use_one* is asked whether the process could use one more message now. *on_malformed*
    dead-letters what is no message for one of *tasks*. *leave* ends a worker that cannot run messages. A queue with a
    message for one of *unserved* is left to other workers. The loop that claims is the one that *waker* wakes.
    """
    global _process  # noqa: PLW0603  # kombu makes transports by class name, so there is one per process
    _process = ClaimerShared(
        leases=leases,
        keys=Keys(settings.redis.key_prefix),
        notifier_client=connect(settings.redis, protocol=3),
        dispatcher=Dispatcher(
            leases, tasks=tasks, loads=loads, on_malformed=on_malformed, leave=leave, unserved=unserved
        ),
        waker=waker,
        can_use_one=can_use_one,
    )


def note_received(token: str) -> None:
    """Celery has made a request of the message of *token*."""
    _installed().dispatcher.received(token)


def _installed() -> ClaimerShared:
    if _process is None:
        raise RuntimeError("claim_with() comes first")
    return _process


class QoS(virtual.QoS):
    """Counts the messages that the process holds, and ends claims. It has no state of a connection, which may break."""

    restore_at_shutdown = False

    def can_consume(self) -> bool:
        """Whether one more message may be claimed."""
        channel: Any = self.channel
        if not channel.claims:  # replies and broadcasts are always read
            return True
        leases = _installed().leases
        return leases.is_claiming and not (self.prefetch_count and leases.is_full(self.prefetch_count))

    def append(self, message: Any, delivery_tag: str) -> None:
        """Nothing: the claim is the record."""

    def ack(self, delivery_tag: str) -> None:
        """End the claim."""
        _installed().leases.ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's signature
        """End the claim; with *requeue* the message goes back to the front of its list."""
        leases = _installed().leases
        if requeue:
            leases.requeue(delivery_tag)
        elif not _installed().dispatcher.rejected_while_dispatching(delivery_tag):
            leases.ack(delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Nothing: a job goes on when a connection breaks."""

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Nothing: the leases' own thread redelivers."""


class ClaimingChannelMixin(PurgingChannelMixin):
    """Claims messages; mixed into both of kombu's Redis channels."""

    QoS = QoS
    do_restore = False

    @property
    def connection_class(self) -> type[Any]:
        """Kombu's, which leaves a server that is no primary any more."""
        return leaving_replicas(super().connection_class)  # type: ignore[misc]  # kombu's

    @property
    def connection_class_ssl(self) -> type[Any]:
        """The same over TLS."""
        return leaving_replicas(super().connection_class_ssl)  # type: ignore[misc]  # kombu's

    def basic_consume(self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any) -> Any:  # noqa: FBT001  # kombu's signature
        """Consume *queue*; with claims if its messages are acknowledged."""
        if not no_ack and queue not in self._fanout_queues:  # type: ignore[attr-defined]  # kombu's
            self._claimer.add(queue)
        return super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)  # type: ignore[misc]  # kombu's

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002  # kombu's signature
        """The next message of *queue*, or None; claimed if it is to be acknowledged."""
        if no_ack:
            return super().basic_get(queue, no_ack=no_ack, **kwargs)  # type: ignore[misc]  # kombu's
        process = _installed()
        while claimed := process.leases.claim([queue]):
            if message := process.dispatcher.read(claimed, queue):
                return self.Message(message, channel=self)  # type: ignore[attr-defined]  # kombu's
        return None

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
        """Claim and deliver the messages that the process can use."""
        self._claimer.claim_all()

    def close(self) -> None:
        """Close the channel. The process keeps the messages that it holds."""
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
    """Claims at every turn of Celery's loop, in addition to what kombu does."""

    def on_poll_start(self) -> None:
        """Called by the loop before it waits."""
        super().on_poll_start()
        for channel in list(self._channels):  # pyright: ignore[reportAttributeAccessIssue]  # kombu's, not in its stubs
            channel.claim_all()


class Channel(ClaimingChannelMixin, stock.Channel):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]  # kombu 5.5 in the stubs
    """A channel to one Redis server."""


class SentinelChannel(ClaimingChannelMixin, stock.SentinelChannel):  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]  # kombu 5.5 in the stubs
    """A channel to the master that sentinels know."""


class ClaimingTransportMixin:
    """Makes a transport claim; mixed into both of kombu's Redis transports."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let any thread wake the loop that claims."""
        super().register_with_event_loop(connection, loop)  # type: ignore[misc]  # kombu's
        _installed().loop = loop
        _installed().waker.attach(loop)


class Transport(ClaimingTransportMixin, stock.Transport):
    """For redis:// and rediss://."""

    Channel = Channel


class SentinelTransport(ClaimingTransportMixin, stock.SentinelTransport):
    """For sentinel://."""

    Channel = SentinelChannel
