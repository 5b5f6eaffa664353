"""Clients of redis-py that keep connections checked out of their pool: what it does around a command takes time.

The pool locks, counts, connects, and asks the socket for stray bytes. A client with a connection of its own
(`single_connection_client`) does nothing of that. Not for Sentinel, whose pool looks at each connection that comes back
if it still leads to the master, and not with a limit of connections, which those that are kept would use up. Import
this module late: it loads redis-py.
"""

from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004

from imagefleet.store.idle import Idle
from imagefleet.store.redis_connections import NotPrimary


class CheckedOutRedis(Redis):
    """Sends each command through an idle client with a connection of its own; threads may share it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: Idle[Redis] = Idle()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply to one command. It is sent again, over the pool, if an idle connection had died unnoticed."""
        try:
            if client := self._idle.take():
                try:
                    return self._execute(client, args, options)
                except NotPrimary:
                    raise
                except ConnectionError:
                    pass
            new = Redis(connection_pool=self.connection_pool, single_connection_client=True)
            return self._execute(new, args, options)
        except Exception:
            raise
        except BaseException:  # a signal: any connection may have been interrupted, and a reply be on its way
            self.check_in()
            self.connection_pool.disconnect(inuse_connections=False)
            raise

    def close(self) -> None:
        """Close as redis-py's client does."""
        self.check_in()
        super().close()

    def check_in(self) -> None:
        """Give the idle connections back to the pool."""
        while client := self._idle.take():
            client.close()

    def _execute(self, client: Redis, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            reply = client.execute_command(*args, **options)
        except ResponseError:
            self._idle.put(client)
            raise
        except Exception as error:  # the connection is closed
            client.close()
            if isinstance(error, ConnectionError):  # the others lead to the same server
                self.check_in()
            raise
        except BaseException:
            if client.connection is not None:
                client.connection.disconnect()
            client.close()
            raise
        self._idle.put(client)
        return reply


class AsyncCheckedOutRedis(AsyncRedis):
    """The same for one event loop. No signal interrupts it in the middle of a command: that only ends the loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: Idle[_OwnConnection] = Idle()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply to one command. It is sent again, over the pool, if an idle connection had died unnoticed."""
        if client := self._idle.take():
            try:
                return await self._execute(client, args, options)
            except NotPrimary:
                raise
            except ConnectionError:
                pass
        new = _OwnConnection(connection_pool=self.connection_pool, single_connection_client=True)
        return await self._execute(new, args, options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001  # redis-py's
        """Close as redis-py's client does."""
        await self.check_in()
        await super().aclose(close_connection_pool)

    async def check_in(self) -> None:
        """Give the idle connections back to the pool."""
        while client := self._idle.take():
            await client.aclose()

    async def _execute(self, client: "_OwnConnection", args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        try:
            reply = await client.execute_command(*args, **options)
        except ResponseError:
            self._idle.put(client)
            raise
        except BaseException as error:  # the connection is closed
            await client.aclose()
            if isinstance(error, ConnectionError):  # the others lead to the same server
                await self.check_in()
            raise
        self._idle.put(client)
        return reply


class _OwnConnection(AsyncRedis):
    """A client that nobody closes dies as quietly as a connection in the pool, which closes itself."""

    def __del__(self, *_: Any) -> None:
        """Nothing: redis-py's would report an error to the loop."""
