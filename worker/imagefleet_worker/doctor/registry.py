"""The checkup: which checks there are, and how each one comes to an end whatever happens."""

from collections.abc import Callable, Collection
from typing import Final

import redis
from redis.exceptions import NoPermissionError

from imagefleet.errors import ImageFleetError, described, reason_of
from imagefleet_worker.doctor.checks.dtype import check_dtype
from imagefleet_worker.doctor.checks.images import check_checker, defaults
from imagefleet_worker.doctor.checks.model_files import check_permissions, check_revision, check_safetensors
from imagefleet_worker.doctor.checks.parity import check_parity
from imagefleet_worker.doctor.checks.provenance import check_c2pa
from imagefleet_worker.doctor.checks.redis import check_aof, check_eviction, check_redis
from imagefleet_worker.doctor.checks.services import check_bucket, check_clock, check_links
from imagefleet_worker.doctor.checks.throughput import check_throughput, draw_plot
from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, Finding, failed, skipped, warning

#: In the order in which they are made: the quick ones first.
CHECKS: Final[dict[str, Callable[[CheckContext], CheckResult]]] = {
    "revision": check_revision,
    "safetensors": check_safetensors,
    "permissions": check_permissions,
    "dtype": check_dtype,
    "redis": check_redis,
    "aof": check_aof,
    "eviction": check_eviction,
    "bucket": check_bucket,
    "links": check_links,
    "clock": check_clock,
    "c2pa": check_c2pa,
    "checker": check_checker,
    "defaults": defaults,
    "parity": check_parity,
    "throughput": check_throughput,
    "plot": draw_plot,
}
#: What has no meaning without a model.
_NEED_MODEL: Final = frozenset({"safetensors", "permissions", "dtype", "defaults", "parity", "throughput"})
#: What loads the model, in one process and for several jobs at once.
_NEED_ENGINE: Final = frozenset({"defaults", "parity", "throughput"})


def run_checks(context: CheckContext, *, chosen: Collection[str]) -> list[Finding]:
    """Make the *chosen* checks, in the order of `CHECKS`; the others are skipped."""
    findings: list[Finding] = []
    for name, check in CHECKS.items():
        context.say(f"checking {name}")
        outcome = _outcome(name, check, context) if name in chosen else skipped("as asked")
        findings.append(Finding(name, outcome))
    return findings


def _outcome(name: str, check: Callable[[CheckContext], CheckResult], context: CheckContext) -> CheckResult:
    if reason := _why_not(name, context):
        return skipped(reason)
    try:
        return check(context)
    except ImageFleetError as error:
        return failed(error.message)
    except NoPermissionError as error:
        return warning(f"this Redis user may not ask ({reason_of(error)}): let a user with the right to run this")
    except redis.RedisError as error:
        return failed(f"Redis does not answer as it should: {reason_of(error)}. See IMAGEFLEET_REDIS_URL")
    except Exception as error:  # noqa: BLE001  # one broken check must not hide what the others find
        return failed(f"the check itself broke, please report it: {described(error)}")


def _why_not(name: str, context: CheckContext) -> str:
    if name in _NEED_MODEL and not context.settings.model.source:
        return "no model is set"
    return context.why_not_joined if name in _NEED_ENGINE else ""
