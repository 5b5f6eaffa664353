"""redis-py clients that fail within seconds, made from one URL (plain, TLS, unix socket or Sentinel)."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from imagefleet.client.settings import ClientSettings
from imagefleet.errors import QueueUnavailable, SettingsInvalid, reason_of
from imagefleet.store.redis_url import Sentinels, check_url, is_sentinel, parse_sentinels, without_credentials

if TYPE_CHECKING:  # `import imagefleet` need not pay for redis
    import redis
    import redis.asyncio

T = TypeVar("T")
#: Seconds for connecting, and for each answer. A round trip is repeated once, so a call stays under five seconds.
TIMEOUT_S: Final = 1.5
#: A broken round trip is repeated only within this many seconds of its start, so that a call is bounded.
REPEAT_WITHIN_S: Final = 1.8
#: For `max_connections`, which has no value for any number.
UNLIMITED: Final = 2**31
_REFUSED: Final = re.compile(r"refused|Err(?:no|or) 111\b")
#: The pause before a round trip is repeated because the server was no primary; a fail-over takes a moment.
FAIL_OVER_PAUSE_S: Final = 0.1


def open_redis(settings: ClientSettings) -> "redis.Redis":
    """A client that connects when it is first used.

    Raises:
        SettingsInvalid: if the URL cannot be used.
    """
    from redis import Redis  # noqa: PLC0415  # here, so that `import imagefleet` stays light
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415
    from redis.sentinel import Sentinel, SentinelManagedConnection  # noqa: PLC0415

    from imagefleet.store.checked_out import CheckedOutRedis  # noqa: PLC0415
    from imagefleet.store.redis_connections import connection_class, leaving_replicas  # noqa: PLC0415

    options: dict[str, Any] = {**_options(settings.url), "retry": Retry(NoBackoff(), 0)}
    with _url_errors():
        check_url(settings.url)
        if is_sentinel(settings.url):
            found = _sentinels(settings)
            manager = Sentinel(found.hosts, sentinel_kwargs=options, **options, **found.options)
            leaving = leaving_replicas(SentinelManagedConnection)
            return manager.master_for(settings.sentinel_master, connection_class=leaving)
        kind = Redis if _limits_connections(settings.url) else CheckedOutRedis
        return _checked(kind.from_url(settings.url, connection_class=connection_class(settings.url), **options))


def open_async_redis(settings: ClientSettings) -> "redis.asyncio.Redis":
    """The same for asyncio."""
    from redis.asyncio import Redis  # noqa: PLC0415
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.asyncio.sentinel import Sentinel, SentinelManagedConnection  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    from imagefleet.store.checked_out import AsyncCheckedOutRedis  # noqa: PLC0415
    from imagefleet.store.redis_connections import async_connection_class, leaving_replicas  # noqa: PLC0415

    options: dict[str, Any] = {**_options(settings.url), "retry": Retry(NoBackoff(), 0)}
    with _url_errors():
        check_url(settings.url)
        if is_sentinel(settings.url):
            found = _sentinels(settings)
            manager = Sentinel(found.hosts, sentinel_kwargs=options, **options, **found.options)
            leaving = leaving_replicas(SentinelManagedConnection)
            return manager.master_for(settings.sentinel_master, connection_class=leaving)
        kind = Redis if _limits_connections(settings.url) else AsyncCheckedOutRedis
        return _checked(kind.from_url(settings.url, connection_class=async_connection_class(settings.url), **options))


def close_redis(client: "redis.Redis") -> None:
    """Close what `open_redis` made, with the connections to sentinels, which redis-py leaves open."""
    for each in _with_sentinels(client):
        each.close()
        each.connection_pool.disconnect()


async def close_async_redis(client: "redis.asyncio.Redis") -> None:
    """The same for asyncio."""
    for each in _with_sentinels(client):
        await each.aclose()
        await each.connection_pool.disconnect()


def queue_unavailable(settings: ClientSettings, error: BaseException) -> QueueUnavailable:
    """The error to raise for an *error* of redis-py; it names the server, but no password."""
    from imagefleet.store.redis_refusals import explain  # noqa: PLC0415  # loads redis

    server = without_credentials(settings.url)
    reason = explain(error) or f"{reason_of(error)}; check IMAGEFLEET_REDIS_URL and Redis"
    if _REFUSED.search(reason):  # nothing listens there: the usual case of a first try
        reason = (
            "nothing listens there. Is IMAGEFLEET_REDIS_URL right? `imagefleet up` starts a Redis and prints its URL"
        )
    return QueueUnavailable(f"Redis at {server} cannot be used: {reason}")


def _options(url: str) -> dict[str, Any]:
    # Protocol and retries are set because redis-py's defaults for both have changed between its versions. Its limit of
    # 100 connections is not for a program that waits for more jobs than that at once.
    options = {"protocol": 2, "decode_responses": True, "max_connections": UNLIMITED}
    timeouts = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    return {**options, **timeouts, **({} if url.startswith("unix:") else {"socket_keepalive": True})}


def _checked(client: T) -> T:
    """*client*, if redis-py knows the options in its URL; else it would raise when it connects."""
    pool: Any = getattr(client, "connection_pool")  # noqa: B009  # both kinds of clients have one
    try:
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        found = re.search(r"'(\w+)'$", str(error))
        raise ValueError(f"has the option {found[1] if found else '?'}, which redis-py does not know") from error
    return client


def _limits_connections(url: str) -> bool:
    """Whether the user has limited them: then none is kept for the next command."""
    return "max_connections=" in url


def _sentinels(settings: ClientSettings) -> Sentinels:
    if not settings.sentinel_master:
        raise SettingsInvalid("a sentinel:// URL needs the name of its master: set IMAGEFLEET_REDIS_SENTINEL_MASTER")
    return parse_sentinels(settings.url)


def _with_sentinels(client: Any) -> list[Any]:
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    return [client, *getattr(manager, "sentinels", [])]


@contextmanager
def _url_errors() -> Generator[None, None, None]:
    """Turn what redis-py raises for a bad URL into our own error."""
    try:
        yield
    except ValueError as error:
        what = f"it {error}" if str(error).startswith(("must ", "has ")) else error
        raise SettingsInvalid(f"the Redis URL (IMAGEFLEET_REDIS_URL) cannot be used: {what}; correct it") from error
