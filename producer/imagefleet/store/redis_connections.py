"""Connections that leave a server which is no primary any more, so that the next command goes to its successor.

A managed Redis fails over behind a fixed address: old connections stay open, and lead to a server that refuses writes
for ever. Import this module late: it loads redis-py.
"""

import re
from functools import cache
from typing import Any, Final

from redis import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio import Connection as AsyncConnection
from redis.asyncio import SSLConnection as AsyncSSLConnection
from redis.asyncio import UnixDomainSocketConnection as AsyncUnixDomainSocketConnection
from redis.exceptions import BusyLoadingError, ConnectionError, MasterDownError, ReadOnlyError, RedisError  # noqa: A004

#: Servers before Redis 7 put the error of a command into the text of the script that called it.
_TEXT: Final = re.compile(r"(?:^|[ -])(READONLY|LOADING|MASTERDOWN|UNBLOCKED) ")
_CLASSES: Final = {ReadOnlyError: "READONLY", BusyLoadingError: "LOADING", MasterDownError: "MASTERDOWN"}
_SYNC: Final = {"redis": Connection, "rediss": SSLConnection, "unix": UnixDomainSocketConnection}
_ASYNC: Final = {"redis": AsyncConnection, "rediss": AsyncSSLConnection, "unix": AsyncUnixDomainSocketConnection}


class NotPrimary(ConnectionError):
    """The server has become a replica, or is loading its data; the connection is closed, and nothing was changed."""


def connection_class(url: str) -> type[Any]:
    """The class of connections to the server at *url*, for redis-py's `connection_class`."""
    return leaving_replicas(_SYNC.get(url.partition("://")[0], Connection))


def async_connection_class(url: str) -> type[Any]:
    """The same for asyncio."""
    return leaving_replicas(_ASYNC.get(url.partition("://")[0], AsyncConnection))


@cache
def leaving_replicas(base: type[Any]) -> type[Any]:
    """*base*, a connection class of redis-py, which closes at such a reply and raises `NotPrimary`."""
    mixin = _AsyncLeaving if "asyncio" in base.__module__ else _Leaving
    return type(base.__name__, (mixin, base), {})


class _Leaving:
    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]  # of the connection class beside it
        except RedisError as error:
            if not (code := _code(error)):
                raise
            self.disconnect()  # type: ignore[attr-defined]  # as above
            raise NotPrimary(f"{code}: {error}") from error


class _AsyncLeaving:
    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().read_response(*args, **kwargs)  # type: ignore[misc]  # as above
        except RedisError as error:
            if not (code := _code(error)):
                raise
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]  # as above
            raise NotPrimary(f"{code}: {error}") from error


def _code(error: RedisError) -> str:
    """The word of Redis that says that this is no primary; empty for any other *error*."""
    for each, code in _CLASSES.items():
        if isinstance(error, each):
            return code
    found = _TEXT.search(str(error))
    return found[1] if found else ""
