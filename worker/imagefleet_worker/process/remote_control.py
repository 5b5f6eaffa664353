"""Remote control: the commands of `celery control` that mean something else here than in Celery.

Celery's own `add_consumer` lets any process take any message, `shutdown` sends no reply and waits without an end for
running jobs, and threads can neither grow nor shrink. `revoke` has a module of its own.
"""

import math
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from celery.worker import control as celery_control

from imagefleet.contract.queues import GENERATE_TASK, queue_for
from imagefleet_worker.process.celery_worker import has_own_tasks
from imagefleet_worker.process.current import current
from imagefleet_worker.process.start_check import ServedQueues
from imagefleet_worker.process.thread_pool import ThreadPool

log = structlog.get_logger(__name__)

_NO_THREADS: Final = "this pool runs one task at a time: start the worker without -P solo"
_NO_AUTOSCALE: Final = "no pool is scaled here: pool_grow and pool_shrink change how many jobs are held at once"
_NO_RESTART: Final = "threads cannot be restarted: type `control shutdown`, and what watches the worker starts it again"


def install_remote_control() -> None:
    """Answer these commands in place of Celery's own."""
    commands: dict[str, Any] = celery_control.Panel.data
    commands.update(
        add_consumer=AddConsumer(commands["add_consumer"]),
        autoscale=_refusal(_NO_AUTOSCALE),
        pool_grow=pool_grow,
        pool_restart=_refusal(_NO_RESTART),
        pool_shrink=pool_shrink,
        shutdown=shutdown,
        time_limit=time_limit,
    )


class AddConsumer:
    """The command `add_consumer`, for queues that this process can serve."""

    def __init__(self, add: Any) -> None:
        """Add queues as Celery's own command *add* does."""
        self._add = add

    def __call__(self, state: Any, queue: Any, **options: Any) -> Mapping[str, Any]:
        """Consume *queue*, or say why not."""
        process, name = current(), str(queue)
        served = ServedQueues(process.model, has_own_tasks=has_own_tasks(state.app))
        if problem := served.problem(name):
            return _error(problem)
        if name == queue_for(process.model) and not process.makes_images:
            return _error(f"this worker has loaded no model: start another one with -Q {name}")
        return self._add(state, name, **options)  # type: ignore[no-any-return]


def pool_grow(state: Any, n: int = 1, **_: Any) -> Mapping[str, Any]:
    """Hold and run *n* tasks more at once."""
    return _resize(state, abs(n))


def pool_shrink(state: Any, n: int = 1, **_: Any) -> Mapping[str, Any]:
    """Hold and run *n* tasks less at once."""
    return _resize(state, -abs(n))


def time_limit(state: Any, task_name: str = "", hard: Any = None, soft: Any = None, **_: Any) -> Mapping[str, Any]:
    """Set how long an attempt at a job may take from now on; 0 ends a limit."""
    if task_name not in state.app.tasks:
        return _error("unknown task")
    if task_name != GENERATE_TASK:
        return _error(f"not set: only {GENERATE_TASK} keeps a limit; no thread can be ended from outside")
    try:
        limits = [_seconds(limit) for limit in (hard, soft)]
    except (TypeError, ValueError):
        return _error("not set: limits are numbers of seconds, 0 or more")
    task = state.app.tasks[task_name]
    task.time_limit, task.soft_time_limit = limits
    return _ok("time limits set successfully")


def _seconds(limit: Any) -> float | None:
    seconds = float(limit or 0)
    if not 0 <= seconds < math.inf:
        raise ValueError(limit)
    return seconds or None


def _resize(state: Any, change: int) -> Mapping[str, Any]:
    pool, consumer = state.consumer.pool, state.consumer
    if not isinstance(pool, ThreadPool):
        return _error(_NO_THREADS)
    try:
        pool.grow(change) if change > 0 else pool.shrink(-change)
    except ValueError as error:
        return _error(f"not changed: {error}")
    consumer._update_prefetch_count(change)  # noqa: SLF001  # as Celery's own command does
    return _ok(f"the pool has {pool.limit} threads")


def shutdown(_state: Any, msg: str = "Got shutdown from remote", **_: Any) -> Mapping[str, Any]:
    """End the worker as SIGTERM does, once the reply is sent."""
    log.warning(msg)
    os.kill(os.getpid(), signal.SIGTERM)
    return _ok("draining")


def _refusal(sentence: str) -> Callable[..., Mapping[str, Any]]:
    """A command that cannot be obeyed."""

    def refuse(_state: Any, **_: Any) -> Mapping[str, Any]:
        return _error(sentence)

    return refuse


def _ok(sentence: str) -> Mapping[str, Any]:
    """A reply as Celery's commands send it."""
    return {"ok": sentence}


def _error(sentence: str) -> Mapping[str, Any]:
    """A reply as Celery's commands send it."""
    return {"error": sentence}
