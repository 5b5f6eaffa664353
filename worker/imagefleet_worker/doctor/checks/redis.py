"""Checks of Redis: new enough, keeps what it has taken, and throws nothing away."""

from typing import Any, Final

from imagefleet.store.keys import Keys
from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, failed, ok, warning

#: Client-side caching, by which workers hear of messages, came with 6.0; tests run on 7.0 and later.
_NEEDED: Final = (6, 0)
_TESTED: Final = (7, 0)


def check_redis(context: CheckContext) -> CheckResult:
    """Whether Redis answers and is new enough."""
    info = _info(context, "server")
    version = str(info.get("redis_version", "0"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    facts = {"redis_version": version, "name": name}
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if number < _NEEDED:
        return failed(f"{name} is too old: workers need 6.0, and are tested on 7.0 and later", **facts)
    if refusal := _refusal(context):
        return failed(f"{name}: {refusal}", **facts)
    if number < _TESTED:
        return warning(f"{name}: workers are tested on 7.0 and later", **facts)
    return ok(f"{name} answers", **facts)


def _refusal(context: CheckContext) -> str:
    """Why the scripts of the queue cannot run here; empty if they can."""
    from redis import ResponseError  # noqa: PLC0415  # with a script that names one key and uses another

    from imagefleet.store.redis_refusals import CLUSTER, FULL, explain  # noqa: PLC0415  # loads redis

    if _info(context, "cluster").get("cluster_enabled"):
        return CLUSTER
    memory = _info(context, "memory")
    if 0 < int(memory.get("maxmemory", 0)) <= int(memory.get("used_memory", 0)):
        return FULL
    keys = Keys(context.settings.redis.key_prefix)
    try:
        context.redis.eval("return redis.call('EXISTS', ARGV[1])", 1, keys.leases, keys.delayed)
    except ResponseError as error:
        return explain(error) or f"it refuses scripts: {error}"
    return ""


def check_aof(context: CheckContext) -> CheckResult:
    """Whether a job that Redis has accepted survives Redis."""
    info = _info(context, "persistence")
    if "aof_enabled" not in info:
        return warning("this Redis does not say whether it writes append-only files: ask who runs it")
    if not info["aof_enabled"]:
        return _without_aof(context)
    if info.get("aof_last_write_status", "ok") != "ok":
        return failed("Redis cannot write its append-only file: look at its log and its disk")
    fsync = _fsync(context)
    if fsync == "no":
        return warning("appendfsync is no, so a crash may lose half a minute of jobs: CONFIG SET appendfsync everysec")
    return ok("append-only files are on" + (f", appendfsync {fsync}" if fsync else ""), appendfsync=fsync)


def check_eviction(context: CheckContext) -> CheckResult:
    """Whether a full Redis refuses new jobs rather than throw old ones away."""
    info = _info(context, "memory")
    policy, limit = info.get("maxmemory_policy"), int(info.get("maxmemory", 0))
    facts = {"maxmemory_policy": policy, "maxmemory": limit}
    if policy is None:
        return warning("this Redis does not say what it evicts when it is full: ask who runs it for noeviction")
    if policy == "noeviction":
        return ok("noeviction: a full Redis refuses new jobs and keeps what it has", **facts)
    if limit:
        return failed(f"{policy}: a full Redis would throw jobs away; CONFIG SET maxmemory-policy noeviction", **facts)
    return warning(
        f"{policy} throws jobs away once maxmemory is set; CONFIG SET maxmemory-policy noeviction now", **facts
    )


def _without_aof(context: CheckContext) -> CheckResult:
    replicas = int(_info(context, "replication").get("connected_slaves", 0))
    if replicas:
        return warning(
            f"append-only files are off; jobs survive on {replicas} replicas, unless all stop at once: "
            "CONFIG SET appendonly yes",
            replicas=replicas,
        )
    return failed("append-only files are off: when Redis stops, jobs are lost; CONFIG SET appendonly yes", replicas=0)


def _info(context: CheckContext, section: str) -> dict[str, Any]:
    return context.redis.info(section)  # type: ignore[return-value]  # a mapping, from a client not async


def _fsync(context: CheckContext) -> str | None:
    """How often the file reaches the disk; None where this user may not ask, as on most hosted servers."""
    from redis import ResponseError  # noqa: PLC0415

    try:
        found: Any = context.redis.config_get("appendfsync")
    except ResponseError:  # NOPERM, and unknown command where it is taken away
        return None
    return found.get("appendfsync")
