"""The way to Redis: clients that fail within seconds, made from one URL (plain, TLS, unix socket or Sentinel)."""

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from imagefleet.errors import QueueUnavailable
from imagefleet.settings import ClientSettings, SettingsInvalid

if TYPE_CHECKING:  # `import imagefleet` need not pay for redis
    import redis
    import redis.asyncio

#: For connecting and for each answer. Twice this, for the one repetition, stays under five seconds.
TIMEOUT_S: Final = 1.5
#: A broken round trip is repeated only while this much time has passed, so that a call is bounded.
REPEAT_WITHIN_S: Final = 1.8

_SENTINEL: Final = "sentinel://"


def open_redis(settings: ClientSettings) -> "redis.Redis":
    """A client that connects when it is first used.

    Raises:
        SettingsInvalid: for a URL that is none.
    """
    import redis  # noqa: PLC0415  # here, so that `import imagefleet` stays light
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415
    from redis.sentinel import Sentinel  # noqa: PLC0415

    options: dict[str, Any] = {**_options(), "retry": Retry(NoBackoff(), 0)}
    with _UrlErrors(settings):
        if settings.url.startswith(_SENTINEL):
            hosts, extra = _sentinels(settings)
            return Sentinel(hosts, sentinel_kwargs=options, **options, **extra).master_for(settings.sentinel_master)
        return redis.Redis.from_url(settings.url, **options)


def open_async_redis(settings: ClientSettings) -> "redis.asyncio.Redis":
    """The same for asyncio."""
    from redis.asyncio import Redis  # noqa: PLC0415
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.asyncio.sentinel import Sentinel  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    options: dict[str, Any] = {**_options(), "retry": Retry(NoBackoff(), 0)}
    with _UrlErrors(settings):
        if settings.url.startswith(_SENTINEL):
            hosts, extra = _sentinels(settings)
            return Sentinel(hosts, sentinel_kwargs=options, **options, **extra).master_for(settings.sentinel_master)
        return Redis.from_url(settings.url, **options)


async def close_async_redis(client: "redis.asyncio.Redis") -> None:
    """Close what `open_async_redis` made, with the connections to sentinels, which redis-py leaves open."""
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    for each in [client, *getattr(manager, "sentinels", [])]:
        await each.aclose()


def unavailable(settings: ClientSettings, error: BaseException) -> QueueUnavailable:
    """The error to raise for what redis-py raised; it names the server and no password."""
    return QueueUnavailable(f"Redis at {where(settings.url)} cannot be used: {error or type(error).__name__}")


def where(url: str) -> str:
    """The server that *url* leads to, without user and password."""
    return "; ".join(part.rpartition("@")[2].split("?")[0] for part in url.partition("://")[2].split(";"))


def _options() -> dict[str, Any]:
    # Protocol and retries are set because redis-py's defaults for both have changed between its versions.
    timeouts = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S, "socket_keepalive": True}
    return {**timeouts, "protocol": 2, "decode_responses": True}


def _sentinels(settings: ClientSettings) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Hosts and options of a URL as kombu writes it: one `sentinel://` URL for each, with `;` between them."""
    if not settings.sentinel_master:
        raise SettingsInvalid("a sentinel:// URL needs the name of its master: set IMAGEFLEET_REDIS_SENTINEL_MASTER")
    parts = [urlsplit(part) for part in settings.url.split(";") if part]
    hosts = [(part.hostname or "127.0.0.1", part.port or 26379) for part in parts]
    database = parts[-1].path.strip("/")
    extra = {"username": parts[0].username, "password": parts[0].password, "db": int(database or 0)}
    return hosts, {name: unquote(value) if isinstance(value, str) else value for name, value in extra.items()}


class _UrlErrors:
    """Turns what redis-py says of a bad URL into our own error."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise SettingsInvalid(f"the Redis URL cannot be used: {error}") from error
