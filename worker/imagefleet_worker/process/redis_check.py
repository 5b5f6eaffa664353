"""The check of Redis before a worker starts: that it answers, and what it would do with jobs when it is full."""

from typing import Any

import redis
import structlog

from imagefleet.errors import reason_of
from imagefleet.store.redis_refusals import explain
from imagefleet.store.redis_url import mask_passwords
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.process.ending import end_process

log = structlog.get_logger(__name__)


def check_redis(client: "redis.Redis", url: str) -> None:
    """Ping *client*, the server at *url*; ends the process with 69 if it does not answer or cannot be used."""
    try:
        client.ping()
        _warn_of_eviction(client)
    except redis.RedisError as error:
        reason = explain(error) or f"it does not answer: {reason_of(error)}"
        end_process(ExitCode.REDIS_UNAVAILABLE, f"Redis at {mask_passwords(url)} cannot be used: {reason}")


def _warn_of_eviction(client: "redis.Redis") -> None:
    try:
        memory: Any = client.info("memory")
    except redis.ResponseError as error:  # this user may not ask
        log.debug("Redis does not say what it evicts", error=reason_of(error))
        return
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        log.warning(
            "this Redis throws keys away when it is full, jobs among them: CONFIG SET maxmemory-policy noeviction",
            maxmemory_policy=policy,
            maxmemory=memory.get("maxmemory"),
        )
