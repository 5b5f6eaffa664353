"""Connections to Redis for everything in a worker that is not Celery."""

from collections.abc import Mapping
from typing import Any, Final

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection

from imagefleet.store.checked_out import CheckedOutRedis
from imagefleet.store.redis_connections import NotPrimary, connection_class, leaving_replicas
from imagefleet.store.redis_url import is_sentinel, parse_sentinels
from imagefleet.store.scripts import by_hash
from imagefleet_worker.settings import RedisSettings

#: redis-py's own limit of 100 would count each connection that stays checked out.
_UNLIMITED: Final = 2**31


class _ByHash(redis.Redis):
    """redis-py's client; it sends the hash of a script, and the text only if Redis does not have it."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply to one command."""
        try:
            return super().execute_command(*by_hash(args), **options)
        except NoScriptError:
            return super().execute_command(*args, **options)
        except NotPrimary:  # the idle connections lead to the same server
            self.connection_pool.disconnect(inuse_connections=False)
            return super().execute_command(*args, **options)


class Client(_ByHash, CheckedOutRedis):
    """The client of everything in a worker that is not Celery."""


def connect(settings: RedisSettings, *, protocol: int = 2) -> "redis.Redis":
    """A thread-safe client; nothing is sent yet. TLS and passwords come with the URL."""
    options = {
        "decode_responses": True,
        "encoding_errors": "replace",  # anybody can push to a list, and not only UTF-8
        "protocol": protocol,
        "socket_timeout": settings.socket_timeout_s,
        "socket_connect_timeout": settings.socket_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "max_connections": _UNLIMITED,
        "retry": Retry(ExponentialBackoff(cap=0.2, base=0.02), 2),
    }
    if is_sentinel(settings.url):
        return _through_sentinel(settings, options)
    kind = _ByHash if "max_connections=" in settings.url else Client
    return kind.from_url(settings.url, connection_class=connection_class(settings.url), **options)


def url_for_celery(settings: RedisSettings) -> str:
    """The URL with which Celery connects as `connect` does.

    Without `ssl_cert_reqs`, kombu would trust any server, and Celery's result backend would not start.
    redis-py verifies the server's certificate.
    """
    if not settings.url.startswith("rediss://") or "ssl_cert_reqs=" in settings.url:
        return settings.url
    return f"{settings.url}{'&' if '?' in settings.url else '?'}ssl_cert_reqs=required"


def _through_sentinel(settings: RedisSettings, options: Mapping[str, Any]) -> "redis.Redis":
    found = parse_sentinels(settings.url)
    # One may hang: redis-py would ask it ten times, besides the retries of the connection to the master.
    asking = {**options, "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(found.hosts, sentinel_kwargs=asking, **options, **found.options)
    leaving = leaving_replicas(SentinelManagedConnection)
    return sentinel.master_for(  # type: ignore[no-any-return]
        settings.sentinel_master, redis_class=_ByHash, connection_class=leaving
    )
