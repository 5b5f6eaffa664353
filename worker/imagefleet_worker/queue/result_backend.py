"""Celery's result backends on Redis, whose connections leave a server that is no primary any more.

Celery repeats what a connection error interrupted (`result_backend_always_retry`), so that a result is stored after a
fail-over, too.
"""

from typing import Any, Final

import redis
from celery.backends.redis import RedisBackend, SentinelBackend

from imagefleet.store.redis_connections import leaving_replicas

#: Celery's `override_backends`: which class serves which scheme.
BACKENDS: Final = {
    "redis": f"{__name__}:ResultBackend",
    "rediss": f"{__name__}:ResultBackend",
    "sentinel": f"{__name__}:SentinelResultBackend",
}


class ResultBackend(RedisBackend):
    """For redis:// and rediss://."""

    def _get_pool(self, **params: Any) -> Any:
        params["connection_class"] = leaving_replicas(params.get("connection_class", redis.Connection))
        return super()._get_pool(**params)  # type: ignore[misc]  # the stubs lack it


class SentinelResultBackend(SentinelBackend):
    """For sentinel://."""

    def _get_pool(self, **params: Any) -> Any:
        pool: Any = super()._get_pool(**params)  # type: ignore[misc]  # as above
        pool.connection_class = leaving_replicas(pool.connection_class)
        return pool
