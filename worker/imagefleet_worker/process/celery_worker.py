"""Celery's worker object: what was asked of it, and what is changed in it before it makes its parts."""

from typing import Any, Final

from imagefleet.contract.queues import DELIVER_TASK, GENERATE_TASK
from imagefleet_worker.process.start_check import CeleryStart, TimeLimits
from imagefleet_worker.process.thread_pool import ThreadPool
from imagefleet_worker.process.typed_options import is_typed

#: The pool of the configuration. Celery makes that of `-P prefork` too: prefork is its default.
THREAD_POOL: Final = f"{ThreadPool.__module__}:{ThreadPool.__name__}"
_OURS: Final = frozenset((GENERATE_TASK, DELIVER_TASK))
_NAMES: Final = {"thread": "threads", "thread_pool": "threads"}
_WITH_VALUE: Final = ("max_tasks_per_child", "max_memory_per_child")


def start_of(worker: Any) -> CeleryStart:
    """What *worker* was asked to be."""
    options = {name for name in _WITH_VALUE if getattr(worker, name)}
    options |= {"autoscale"} if worker.options.get("autoscale") else set()
    options |= {"pool_start_method"} if is_typed("pool_start_method") else set()
    app = worker.app
    return CeleryStart(
        pool=_pool_name(worker.pool_cls),
        queues=consumed_queues(app),
        broker_url=str(app.conf.broker_url),
        options=frozenset(options),
        time_limits=time_limits_of(worker),
    )


def time_limits_of(worker: Any) -> TimeLimits:
    """The limits that `--time-limit` and `--soft-time-limit` give to *worker*."""
    return TimeLimits(worker.time_limit or None, worker.soft_time_limit or None)


def consumed_queues(app: Any) -> tuple[str, ...]:
    """The queues that the worker of *app* consumes now."""
    return tuple(app.amqp.queues.consume_from)


def has_own_tasks(app: Any) -> bool:
    """Whether somebody has added tasks to *app*, with `-I` or in its modules."""
    return any(name not in _OURS and not name.startswith("celery.") for name in app.tasks)


def adapt(worker: Any) -> None:
    """Let *worker* hold no more messages than its pool can run, and use our pool of threads."""
    if _pool_name(worker.pool_cls) == "solo":
        worker.concurrency = 1
    else:
        worker.pool_cls = ThreadPool
    if worker.app.conf.worker_disable_prefetch:  # without it the leases say the same, and wake the loop in time
        worker.app.conf.worker_disable_prefetch = False
        worker.prefetch_multiplier = 1


def _pool_name(pool: Any) -> str:
    """The name for `-P`; Celery hands over a class or the path of one."""
    path = pool if isinstance(pool, str) else f"{pool.__module__}:{pool.__name__}"
    if path == THREAD_POOL:
        return "prefork" if is_typed("pool") else "threads"
    module = path.partition(":")[0].rpartition(".")[2]
    return _NAMES.get(module, module)
