"""Connections to Redis for everything in a worker that is not Celery."""

import re
from collections.abc import Mapping
from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.connection import parse_url
from redis.exceptions import NoScriptError
from redis.retry import Retry
from redis.sentinel import Sentinel

from imagefleet.scripts import by_hash
from imagefleet_worker.settings import RedisSettings


class Client(redis.Redis):
    """redis-py's, but scripts are sent by their hash, and whole only where Redis does not have them."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply to one command."""
        try:
            return super().execute_command(*by_hash(args), **options)
        except NoScriptError:
            return super().execute_command(*args, **options)


def connect(settings: RedisSettings, *, protocol: int = 2) -> "redis.Redis":
    """A thread-safe client; nothing is sent yet. TLS and passwords come with the URL."""
    options = {
        "decode_responses": True,
        "encoding_errors": "replace",  # anybody can push to a list, not only UTF-8
        "protocol": protocol,
        "socket_timeout": settings.socket_timeout_s,
        "socket_connect_timeout": settings.socket_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry": Retry(ExponentialBackoff(cap=0.2, base=0.02), 2),
    }
    if settings.url.startswith("sentinel://"):
        return _through_sentinel(settings, options)
    return Client.from_url(settings.url, **options)


def url_for_celery(settings: RedisSettings) -> str:
    """The URL as Celery needs it to do what `connect` does with the one that was given.

    Without `ssl_cert_reqs`, kombu would trust any server and Celery's result backend would not start; redis-py
    requires a certificate that can be verified.
    """
    if not settings.url.startswith("rediss://") or "ssl_cert_reqs=" in settings.url:
        return settings.url
    return f"{settings.url}{'&' if '?' in settings.url else '?'}ssl_cert_reqs=required"


def without_passwords(text: str) -> str:
    """*text* with `***` for the password in each URL of it, to be shown."""
    return re.sub(r"(://[^:/@;]*:)[^/;]*@", r"\1***@", text)


def _through_sentinel(settings: RedisSettings, options: Mapping[str, Any]) -> "redis.Redis":
    """Several sentinels are written as Celery has them: `sentinel://a:26379;sentinel://b:26379/0`."""
    urls = [parse_url(part.replace("sentinel://", "redis://", 1)) for part in settings.url.split(";") if part]
    hosts = [(url.get("host", "127.0.0.1"), int(url.get("port", 26379))) for url in urls]
    shared = {name: value for url in urls for name, value in url.items() if name in ("db", "username", "password")}
    # One may hang: redis-py would ask it ten times, besides the retries of the connection to the master.
    asking = {**options, "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(hosts, sentinel_kwargs=asking, **options, **shared)
    return sentinel.master_for(settings.sentinel_master, redis_class=Client)  # type: ignore[no-any-return]
