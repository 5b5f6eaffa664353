"""`AsyncConnection`: drives operations and watches over one Redis client, from asyncio."""

from asyncio import sleep
from collections.abc import AsyncGenerator, Generator
from contextlib import closing, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from imagefleet.client.async_subscription import AsyncSubscription
from imagefleet.client.operations import Operation
from imagefleet.client.redis_client import (
    FAIL_OVER_PAUSE_S,
    REPEAT_WITHIN_S,
    close_async_redis,
    open_async_redis,
    queue_unavailable,
)
from imagefleet.client.settings import ClientSettings
from imagefleet.client.snapshots import JobEvent
from imagefleet.client.subscription_pool import SubscriptionPool
from imagefleet.client.watch import Effect, Listen, Pause, Subscribe, Watching
from imagefleet.errors import QueueUnavailable
from imagefleet.store.scripts import Command, by_hash

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

T = TypeVar("T")


class AsyncConnection:
    """A pool of sockets to one Redis, for one event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._redis = open_async_redis(settings)
        self._pool: SubscriptionPool[PubSub] = SubscriptionPool(self._redis.pubsub)

    async def close(self) -> None:
        """Close the sockets; the connection opens new ones when it is used again."""
        await self._close_idle_subscriptions()
        await close_async_redis(self._redis)

    @property
    def pool(self) -> "SubscriptionPool[PubSub]":
        """The idle sockets of earlier watches."""
        return self._pool

    async def run(self, operation: Operation[T]) -> T:
        """Drive *operation* to its result.

        Raises:
            QueueUnavailable: within five seconds, if Redis cannot be reached or refuses a command.
        """
        try:
            commands = next(operation)
            while True:
                commands = operation.send(await self._round_trip(commands))
        except StopIteration as done:
            return done.value

    async def watch(self, watching: Watching) -> AsyncGenerator[JobEvent, None]:
        """Drive *watching* and yield its events."""
        subscription = AsyncSubscription(self._pool, errors=self._errors)
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
                        reply = await self._do(effect, subscription)
            finally:
                await subscription.release()

    async def _do(self, effect: Effect, subscription: AsyncSubscription) -> object:
        """The reply to *effect*; an outage is a reply, too."""
        try:
            match effect:
                case Subscribe(channels):
                    return await subscription.subscribe(*channels)
                case Listen(timeout_s):
                    return await subscription.listen(timeout_s)
                case Pause(seconds):
                    return await sleep(seconds)
                case list():
                    return await self._round_trip(effect)
                case JobEvent():
                    return None
        except QueueUnavailable as error:
            return error

    async def _round_trip(self, commands: list[Command]) -> list[Any]:
        from redis.exceptions import NoScriptError, RedisError, ResponseError  # noqa: PLC0415  # as in `_errors`

        from imagefleet.store.redis_connections import NotPrimary  # noqa: PLC0415

        started, to_send = monotonic(), [by_hash(command) for command in commands]
        is_repeated = False
        while True:
            try:
                return await self._send(to_send)
            except NoScriptError:  # at most once: Redis keeps scripts that are sent whole
                to_send = commands
            except (RedisError, OSError, ValueError) as error:  # the last as in `_errors`
                is_elsewhere = isinstance(error, NotPrimary)
                is_final = isinstance(error, ResponseError) or (is_repeated and not is_elsewhere)
                if is_final or monotonic() - started > REPEAT_WITHIN_S:
                    raise queue_unavailable(self._settings, error) from error
                is_repeated = True
                if is_elsewhere:
                    await self._leave_server()

    async def _send(self, commands: list[Command]) -> list[Any]:
        """The replies to *commands*, which go out together."""
        if len(commands) == 1:  # cheaper than a pipeline of one
            return [await self._redis.execute_command(*commands[0])]
        pipeline = self._redis.pipeline(transaction=False)
        try:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute()
        finally:
            await pipeline.reset()

    async def _leave_server(self) -> None:
        """Close the idle sockets, which lead to a server that is no primary; a fail-over may still be under way."""
        await self._close_idle_subscriptions()
        await self._redis.connection_pool.disconnect(inuse_connections=False)
        await sleep(FAIL_OVER_PAUSE_S)

    async def _close_idle_subscriptions(self) -> None:
        while idle := self._pool.acquire_idle():
            await idle.pubsub.aclose()

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        """Turn what redis-py raises into `QueueUnavailable`."""
        from redis.exceptions import RedisError  # noqa: PLC0415  # here, so that `import imagefleet` stays light

        try:
            yield
        except (RedisError, OSError, ValueError) as error:  # the last for a socket that another thread has closed
            raise queue_unavailable(self._settings, error) from error
