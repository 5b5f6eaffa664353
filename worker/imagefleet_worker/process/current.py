"""The current process: how the tasks, requests and signals that Celery makes reach the worker that this process is."""

from collections.abc import Callable
from typing import Any

from imagefleet_worker.process import memory
from imagefleet_worker.process.lifecycle import WorkerProcess
from imagefleet_worker.process.start_check import TimeLimits
from imagefleet_worker.settings import Settings

_current: WorkerProcess | None = None


def begin(
    app: Any, settings: Settings, *, name: str, queues: Callable[[], tuple[str, ...]], time_limits: TimeLimits
) -> None:
    """Make this process the worker *name*, which consumes *queues* for the Celery app *app*, and start it.

    Its jobs keep *time_limits* by default.
    """
    global _current  # noqa: PLW0603  # Celery makes its objects from classes and functions, and gives them no context
    memory.tune_allocator()  # before its threads start
    _current = WorkerProcess(app, settings, name=name, queues=queues, time_limits=time_limits)
    _current.start()
    memory.leave_out_of_collections()
    memory.MemoryTrim().start()


def current() -> WorkerProcess:
    """The worker that this process is.

    Raises:
        RuntimeError: If it is none.
    """
    if _current is None:
        raise RuntimeError(
            "no worker runs in this process, so imagefleet's tasks cannot run here, called or eager: send the job with "
            "imagefleet.Client or send_task, to a worker started with `celery -A imagefleet_worker.app worker`"
        )
    return _current
