"""The connection of the asyncio client: as `connections`, with the waiting left to the event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from imagefleet.endpoints import REPEAT_WITHIN_S, TIMEOUT_S, close_async_redis, open_async_redis, unavailable
from imagefleet.errors import QueueUnavailable
from imagefleet.operations import Operation
from imagefleet.records import Command
from imagefleet.scripts import by_hash
from imagefleet.settings import ClientSettings
from imagefleet.snapshots import JobEvent
from imagefleet.subscribers import Resting, Subscriber
from imagefleet.watching import Effect, Listen, Pause, Subscribe, Watching

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

T = TypeVar("T")


class AsyncConnection:
    """A pool of sockets to one Redis, for one event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._redis = open_async_redis(settings)
        self._resting: Resting[PubSub] = Resting()

    async def close(self) -> None:
        """Close the sockets; the connection opens new ones when it is used again."""
        while subscriber := self._resting.take():
            await subscriber.pubsub.aclose()
        await close_async_redis(self._redis)
        await self._redis.connection_pool.disconnect()

    async def run(self, operation: Operation[T]) -> T:
        """Drive *operation* to its result.

        Raises:
            QueueUnavailable: within five seconds, where Redis cannot be reached or refuses a command.
        """
        try:
            commands = next(operation)
            while True:
                commands = operation.send(await self._round_trip(commands))
        except StopIteration as done:
            return done.value

    async def watch(self, watching: Watching) -> AsyncGenerator[JobEvent, None]:
        """Drive *watching* and yield its events."""
        ear = _Ear(self)
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
                        reply = await self._do(effect, ear)
            finally:
                await ear.rest()

    @property
    def resting(self) -> "Resting[PubSub]":
        """Subscribers for the next watches."""
        return self._resting

    def subscriber(self) -> "Subscriber[PubSub]":
        """A new subscriber."""
        return Subscriber(self._redis.pubsub())

    def error(self, error: BaseException) -> QueueUnavailable:
        """The error to raise for what redis-py raised."""
        return unavailable(self._settings, error)

    @contextmanager
    def errors(self) -> Generator[None, None, None]:
        """Turn what redis-py raises into `QueueUnavailable`."""
        from redis.exceptions import RedisError  # noqa: PLC0415  # here, so that `import imagefleet` stays light

        try:
            yield
        except (RedisError, OSError) as error:
            raise self.error(error) from error

    async def _do(self, effect: Effect, ear: "_Ear") -> object:
        """The reply to *effect*; an outage is a reply, too."""
        try:
            match effect:
                case Subscribe(channels):
                    return await ear.subscribe(*channels)
                case Listen(timeout_s):
                    return await ear.listen(timeout_s)
                case Pause(seconds):
                    return await asyncio.sleep(seconds)
                case list():
                    return await self._round_trip(effect)
                case JobEvent():
                    return None
        except QueueUnavailable as error:
            return error

    async def _round_trip(self, commands: list[Command]) -> list[Any]:
        from redis.exceptions import NoScriptError, RedisError, ResponseError  # noqa: PLC0415  # as above

        began, to_send = time.monotonic(), [by_hash(command) for command in commands]
        while True:
            pipeline = self._redis.pipeline(transaction=False)
            try:
                for command in to_send:
                    pipeline.execute_command(*command)
                return await pipeline.execute()
            except NoScriptError:  # at most once: the texts teach it
                to_send = commands
            except (RedisError, OSError) as error:
                if isinstance(error, ResponseError) or time.monotonic() - began > REPEAT_WITHIN_S:
                    raise self.error(error) from error
                began -= REPEAT_WITHIN_S  # once only
            finally:
                await pipeline.reset()


class _Ear:
    """One subscription at a time."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._subscriber: Subscriber[PubSub] | None = None

    async def close(self) -> None:
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            await subscriber.pubsub.aclose()

    async def rest(self) -> None:
        """Listen to nothing, and leave the socket to the next watch."""
        if self._subscriber is None:
            return
        try:
            with self._connection.errors():
                await self._subscriber.pubsub.unsubscribe()
        except QueueUnavailable:
            await self.close()
        else:
            self._connection.resting.keep(self._subscriber)
            self._subscriber = None

    async def subscribe(self, *channels: str) -> None:
        """Listen to *channels* only; returns once Redis has confirmed it."""
        await self.close()
        if rested := self._connection.resting.take():
            try:
                return await self._subscribe(rested, channels)
            except QueueUnavailable:  # a socket may die unseen while nobody uses it
                pass
        return await self._subscribe(self._connection.subscriber(), channels)

    async def listen(self, timeout_s: float) -> str | None:
        """The next message, or None after *timeout_s*."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            heard = await self._next(left)
            if heard is not None and heard["type"] == "message":
                return heard["data"]
        return None

    async def _subscribe(self, subscriber: "Subscriber[PubSub]", channels: Sequence[str]) -> None:
        self._subscriber = subscriber
        async with self._closing_at_errors():
            await subscriber.pubsub.subscribe(*channels)
            subscriber.unconfirmed += len(channels)
            while subscriber.unconfirmed >= len(channels):
                if await self._next(TIMEOUT_S) is None:
                    raise TimeoutError("no answer to a subscription")

    async def _next(self, timeout_s: float) -> Any:
        if self._subscriber is None:
            raise self._connection.error(ConnectionError("the subscription broke"))
        async with self._closing_at_errors():
            heard = await self._subscriber.pubsub.get_message(timeout=timeout_s)
        if heard is not None and heard["type"] == "subscribe":
            self._subscriber.unconfirmed -= 1
        return heard

    @asynccontextmanager
    async def _closing_at_errors(self) -> AsyncGenerator[None, None]:
        """Also where the caller was interrupted: half an answer may have been read."""
        try:
            with self._connection.errors():
                yield
        except BaseException:
            await self.close()
            raise
