"""Connection stacks: connections that stay taken out of redis-py's pool, for the commands of which jobs are made.

Around each command, the pool connects, asks the socket for stray bytes, and counts. A connection of a stack is used as
it is: if it has died unnoticed, the command fails, and its sender sends it again.
"""

import os
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from redis.exceptions import ResponseError

from imagefleet.store.scripts import Command

P = TypeVar("P")


class _Stack(Generic[P]):
    """Idle connections of *pool*, the last used first."""

    def __init__(self, pool: P) -> None:
        self._pool = pool
        self._idle: deque[Any] = deque()
        self._pid = os.getpid()

    def _take_idle(self) -> Any:
        """A connection, or None if all are in use."""
        if self._pid != os.getpid():  # after a fork the sockets belong to the parent, too
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return None


class ConnectionStack(_Stack["redis.ConnectionPool"]):
    """Connections of a pool; threads may share the stack."""

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to *commands*, which go out together, once, as Redis sends them.

        Raises:
            redis.ConnectionError, redis.TimeoutError: if the connection broke. Then the others connect anew as well:
                they lead to the same server.
            redis.RedisError: if Redis refuses one of them; the others were executed.
        """
        connection = self._take_idle() or self._pool.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            replies: list[Any] = []
            refusals: list[Exception] = []
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except ResponseError as error:
                    refusals.append(error)
        finally:
            self._idle.append(connection)
            if not connection.is_connected:
                self._disconnect()
        if refusals:
            raise refusals[0]
        return replies

    def _disconnect(self) -> None:
        taken: list[Any] = []
        while (connection := self._take_idle()) is not None:
            connection.disconnect()
            taken.append(connection)
        self._idle.extend(taken)


class AsyncConnectionStack(_Stack["redis.asyncio.ConnectionPool"]):
    """The same for one event loop."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to *commands*. Raises as `ConnectionStack.run`."""
        connection = self._take_idle() or await self._pool.get_connection()
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            replies: list[Any] = []
            refusals: list[Exception] = []
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    refusals.append(error)
        finally:
            self._idle.append(connection)
            if not connection.is_connected:
                await self._disconnect()
        if refusals:
            raise refusals[0]
        return replies

    async def _disconnect(self) -> None:
        taken: list[Any] = []
        while (connection := self._take_idle()) is not None:
            await connection.disconnect(nowait=True)
            taken.append(connection)
        self._idle.extend(taken)
