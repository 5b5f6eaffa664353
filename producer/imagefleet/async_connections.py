"""The connection of the asyncio client: as `connections`, with the waiting left to the event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from imagefleet.endpoints import REPEAT_WITHIN_S, TIMEOUT_S, close_async_redis, open_async_redis, unavailable
from imagefleet.errors import QueueUnavailable
from imagefleet.operations import Operation
from imagefleet.records import Command
from imagefleet.settings import ClientSettings
from imagefleet.snapshots import JobEvent
from imagefleet.watching import Effect, Listen, Pause, Subscribe, Watching

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

T = TypeVar("T")


class AsyncConnection:
    """A pool of sockets to one Redis, for one event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._redis = open_async_redis(settings)

    async def close(self) -> None:
        """Close the sockets; the connection opens new ones when it is used again."""
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
                await ear.close()

    def pubsub(self) -> "PubSub":
        """A subscriber of its own."""
        return self._redis.pubsub()

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
        from redis.exceptions import RedisError, ResponseError  # noqa: PLC0415  # as above

        began = time.monotonic()
        while True:
            pipeline = self._redis.pipeline(transaction=False)
            try:
                for command in commands:
                    pipeline.execute_command(*command)
                return await pipeline.execute()
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
        self._pubsub: PubSub | None = None

    async def close(self) -> None:
        if self._pubsub is not None:
            await self._pubsub.aclose()
            self._pubsub = None

    async def subscribe(self, *channels: str) -> None:
        """Listen to *channels* only; returns once Redis has confirmed it."""
        await self.close()
        self._pubsub = self._connection.pubsub()
        with self._connection.errors():
            await self._pubsub.subscribe(*channels)
        if await self._next(TIMEOUT_S) is None:
            raise self._connection.error(TimeoutError("no answer to a subscription"))

    async def listen(self, timeout_s: float) -> str | None:
        """The next message, or None after *timeout_s*."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            heard = await self._next(left)
            if heard is not None and heard["type"] == "message":
                return heard["data"]
        return None

    async def _next(self, timeout_s: float) -> Any:
        if self._pubsub is None:
            raise self._connection.error(ConnectionError("the subscription broke"))
        try:
            with self._connection.errors():
                return await self._pubsub.get_message(timeout=timeout_s)
        except QueueUnavailable:
            await self.close()
            raise
