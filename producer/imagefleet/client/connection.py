# Made from async_connection.py by `make fix`: change that file instead.
"""`Connection`: drives operations and watches over one Redis client."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, TypeVar

from imagefleet.client.operations import Operation
from imagefleet.client.redis_client import (
    FAIL_OVER_PAUSE_S,
    REPEAT_WITHIN_S,
    close_redis,
    open_redis,
    queue_unavailable,
)
from imagefleet.client.settings import ClientSettings
from imagefleet.client.snapshots import JobEvent
from imagefleet.client.subscription import Subscription
from imagefleet.client.subscription_pool import SubscriptionPool
from imagefleet.client.watch import Effect, Listen, Pause, Subscribe, Watching
from imagefleet.errors import QueueUnavailable
from imagefleet.store.scripts import Command, by_hash

if TYPE_CHECKING:
    from redis.client import PubSub

T = TypeVar("T")


class Connection:
    """A pool of sockets to one Redis; threads may share it."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._redis = open_redis(settings)
        self._pool: SubscriptionPool[PubSub] = SubscriptionPool(self._redis.pubsub)

    def close(self) -> None:
        """Close the sockets; the connection opens new ones when it is used again."""
        self._close_idle_subscriptions()
        close_redis(self._redis)

    @property
    def pool(self) -> "SubscriptionPool[PubSub]":
        """The idle sockets of earlier watches."""
        return self._pool

    def run(self, operation: Operation[T]) -> T:
        """Drive *operation* to its result.

        Raises:
            QueueUnavailable: within five seconds, if Redis cannot be reached or refuses a command.
        """
        try:
            commands = next(operation)
            while True:
                commands = operation.send(self._round_trip(commands))
        except StopIteration as done:
            return done.value

    def watch(self, watching: Watching) -> Generator[JobEvent, None, None]:
        """Drive *watching* and yield its events."""
        subscription = Subscription(self._pool, errors=self._errors)
        reply: object = None
        with closing(watching):
            try:
                while True:
                    try:
                        effect = watching.send(reply)
                    except StopIteration:
                        return
                    reply = None
                    if isinstance(effect, JobEvent):
                        yield effect
                    else:
                        reply = self._do(effect, subscription)
            finally:
                subscription.release()

    def _do(self, effect: Effect, subscription: Subscription) -> object:
        """The reply to *effect*; an outage is a reply, too."""
        try:
            match effect:
                case Subscribe(channels):
                    return subscription.subscribe(*channels)
                case Listen(timeout_s):
                    return subscription.listen(timeout_s)
                case Pause(seconds):
                    return sleep(seconds)
                case list():
                    return self._round_trip(effect)
                case JobEvent():
                    return None
        except QueueUnavailable as error:
            return error

    def _round_trip(self, commands: list[Command]) -> list[Any]:
        from redis.exceptions import NoScriptError, RedisError, ResponseError  # noqa: PLC0415  # as in `_errors`

        from imagefleet.store.redis_connections import NotPrimary  # noqa: PLC0415

        started, to_send = monotonic(), [by_hash(command) for command in commands]
        is_repeated = False
        while True:
            try:
                return self._send(to_send)
            except NoScriptError:  # at most once: Redis keeps scripts that are sent whole
                to_send = commands
            except (RedisError, OSError, ValueError) as error:  # the last as in `_errors`
                is_elsewhere = isinstance(error, NotPrimary)
                is_final = isinstance(error, ResponseError) or (is_repeated and not is_elsewhere)
                if is_final or monotonic() - started > REPEAT_WITHIN_S:
                    raise queue_unavailable(self._settings, error) from error
                is_repeated = True
                if is_elsewhere:
                    self._leave_server()

    def _send(self, commands: list[Command]) -> list[Any]:
        """The replies to *commands*, which go out together."""
        if len(commands) == 1:  # cheaper than a pipeline of one
            return [self._redis.execute_command(*commands[0])]
        pipeline = self._redis.pipeline(transaction=False)
        try:
            for command in commands:
                pipeline.execute_command(*command)
            return pipeline.execute()
        finally:
            pipeline.reset()

    def _leave_server(self) -> None:
        """Close the idle sockets, which lead to a server that is no primary; a fail-over may still be under way."""
        self._close_idle_subscriptions()
        self._redis.connection_pool.disconnect(inuse_connections=False)
        sleep(FAIL_OVER_PAUSE_S)

    def _close_idle_subscriptions(self) -> None:
        while idle := self._pool.acquire_idle():
            idle.pubsub.close()

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        """Turn what redis-py raises into `QueueUnavailable`."""
        from redis.exceptions import RedisError  # noqa: PLC0415  # here, so that `import imagefleet` stays light

        try:
            yield
        except (RedisError, OSError, ValueError) as error:  # the last for a socket that another thread has closed
            raise queue_unavailable(self._settings, error) from error
