"""The checkup: which checks there are, and how each one comes to an end whatever happens."""

from collections.abc import Callable, Collection
from typing import Final

import redis
from redis.exceptions import NoPermissionError

from imagefleet_worker.doctor.bucket import check_bucket
from imagefleet_worker.doctor.clock import check_clock
from imagefleet_worker.doctor.findings import Finding, Outcome, failed, skipped, warning
from imagefleet_worker.doctor.model_files import check_permissions, check_revision, check_safetensors
from imagefleet_worker.doctor.number_format import check_dtype
from imagefleet_worker.doctor.parity import check_parity
from imagefleet_worker.doctor.queue_server import check_aof, check_eviction, check_redis
from imagefleet_worker.doctor.speed import check_throughput, draw_plot
from imagefleet_worker.doctor.subject import Subject
from imagefleet_worker.errors import WorkerError

#: In the order in which they are made: the quick ones first.
CHECKS: Final[dict[str, Callable[[Subject], Outcome]]] = {
    "revision": check_revision,
    "safetensors": check_safetensors,
    "permissions": check_permissions,
    "dtype": check_dtype,
    "redis": check_redis,
    "aof": check_aof,
    "eviction": check_eviction,
    "bucket": check_bucket,
    "clock": check_clock,
    "parity": check_parity,
    "throughput": check_throughput,
    "plot": draw_plot,
}
#: What has no meaning without a model.
_NEED_MODEL: Final = frozenset({"safetensors", "permissions", "dtype", "parity", "throughput"})
#: What runs several jobs at once.
_NEED_JOINING: Final = frozenset({"parity", "throughput"})


def examine(subject: Subject, *, chosen: Collection[str]) -> list[Finding]:
    """Make the *chosen* checks, in the order of `CHECKS`; the others are skipped."""
    findings: list[Finding] = []
    for name, check in CHECKS.items():
        subject.say(f"checking {name}")
        outcome = _outcome(name, check, subject) if name in chosen else skipped("as asked")
        findings.append(Finding(name, outcome))
    return findings


def _outcome(name: str, check: Callable[[Subject], Outcome], subject: Subject) -> Outcome:
    if reason := _why_not(name, subject):
        return skipped(reason)
    try:
        return check(subject)
    except WorkerError as error:
        return failed(error.message)
    except NoPermissionError as error:
        return warning(f"this Redis user may not ask ({error}): let a user with the right to run this")
    except redis.RedisError as error:
        return failed(f"Redis does not answer as it should: {error}. See IMAGEFLEET_REDIS_URL")
    except Exception as error:  # noqa: BLE001  # one broken check must not hide what the others find
        return failed(f"the check itself broke, please report it: {type(error).__name__}: {error}")


def _why_not(name: str, subject: Subject) -> str:
    if name in _NEED_MODEL and not subject.settings.model.source:
        return "no model is set"
    return subject.why_not_joined if name in _NEED_JOINING else ""
