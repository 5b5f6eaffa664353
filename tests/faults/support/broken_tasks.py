"""Tasks that fail where Celery does not look: `celery worker -I tests.faults.support.broken_tasks`."""

from types import SimpleNamespace
from typing import Any

from celery import signals
from celery.worker.request import Request

from imagefleet_worker.app import app


class LostRequest(Request):
    """Raises in the thread of the pool, before the task runs: its future swallows that."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        raise TypeError("unhashable type: 'list'")


def strategy(task: Any, app: Any, consumer: Any, **_: Any) -> Any:
    """As a pool that cannot take what it is given: `--autoscale` with threads was one."""

    def receive(message: Any, *_: Any, **__: Any) -> None:
        signals.task_received.send(sender=consumer, request=SimpleNamespace(message=message))
        raise AttributeError("'TaskPool' object has no attribute 'grow'")

    return receive


@app.task(name="broken.lost", Request=LostRequest)
def lost() -> None:
    """Never run."""


@app.task(name="broken.worker", Strategy=f"{__name__}:strategy")
def worker() -> None:
    """Never run either."""


@app.task(name="other.task")
def fine() -> str:
    """A task that nothing is wrong with."""
    return "done"
