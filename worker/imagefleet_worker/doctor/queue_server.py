"""Checks of Redis: new enough, keeps what it has taken, and throws nothing away."""

from typing import Any, Final

from imagefleet_worker.doctor.findings import Outcome, failed, ok, warning
from imagefleet_worker.doctor.subject import Subject

#: Client-side caching, by which workers hear of messages, came with 6.0; tests run on 7.0 and later.
_NEEDED: Final = (6, 0)
_TESTED: Final = (7, 0)


def check_redis(subject: Subject) -> Outcome:
    """Whether Redis answers and is new enough."""
    info = _info(subject, "server")
    version = str(info.get("redis_version", "0"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    facts = {"redis_version": version, "name": name}
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if number < _NEEDED:
        return failed(f"{name} is too old: workers need 6.0, and are tested on 7.0 and later", **facts)
    if number < _TESTED:
        return warning(f"{name}: workers are tested on 7.0 and later", **facts)
    return ok(f"{name} answers", **facts)


def check_aof(subject: Subject) -> Outcome:
    """Whether a job that Redis has accepted survives Redis."""
    info = _info(subject, "persistence")
    if "aof_enabled" not in info:
        return warning("this Redis does not say whether it writes append-only files: ask who runs it")
    if not info["aof_enabled"]:
        return _without_aof(subject)
    if info.get("aof_last_write_status", "ok") != "ok":
        return failed("Redis cannot write its append-only file: look at its log and its disk")
    fsync = _fsync(subject)
    if fsync == "no":
        return warning("appendfsync is no, so a crash may lose half a minute of jobs: CONFIG SET appendfsync everysec")
    return ok("append-only files are on" + (f", appendfsync {fsync}" if fsync else ""), appendfsync=fsync)


def check_eviction(subject: Subject) -> Outcome:
    """Whether a full Redis refuses new jobs rather than throw old ones away."""
    info = _info(subject, "memory")
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


def _without_aof(subject: Subject) -> Outcome:
    replicas = int(_info(subject, "replication").get("connected_slaves", 0))
    if replicas:
        return warning(
            f"append-only files are off; jobs survive on {replicas} replicas, unless all stop at once: "
            "CONFIG SET appendonly yes",
            replicas=replicas,
        )
    return failed("append-only files are off: when Redis stops, jobs are lost; CONFIG SET appendonly yes", replicas=0)


def _info(subject: Subject, section: str) -> dict[str, Any]:
    return subject.redis.info(section)  # type: ignore[return-value]  # a mapping, from a client not async


def _fsync(subject: Subject) -> str | None:
    """How often the file reaches the disk; None where this user may not ask, as on most hosted servers."""
    from redis import ResponseError  # noqa: PLC0415

    try:
        found: Any = subject.redis.config_get("appendfsync")
    except ResponseError:  # NOPERM, and unknown command where it is taken away
        return None
    return found.get("appendfsync")
