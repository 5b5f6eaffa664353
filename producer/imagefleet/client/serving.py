"""Serving: whether any worker serves the models of jobs, and why a queued job waits."""

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from imagefleet.contract.queues import WEBHOOK_QUEUE, queue_for
from imagefleet.errors import NoWorker
from imagefleet.store import worker_registry
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command
from imagefleet.store.worker_registry import Worker, WorkerState

_PREFIX = queue_for("")


def require_workers(keys: Keys, models: Iterable[str]) -> Generator[list[Command], list[Any], None]:
    """Find out whether workers serve *models* or have served them: those of a model may be scaled to zero now.

    Raises:
        NoWorker: naming the first of *models* that no worker has served, and those that there are.
    """
    served, registered = yield [worker_registry.served(keys), worker_registry.read(keys)]
    _, seen = worker_registry.parse(registered)
    known = models_of([*served, *(queue for worker in seen for queue in worker.queues)])
    for model in dict.fromkeys(models):
        if model not in known:
            raise NoWorker(missing(model, known), served=known)


def reason_to_wait(queue: str, served: Sequence[str], seen: Sequence[Worker]) -> str | None:
    """Why a job waits in *queue* although nothing is before it; None if a worker takes jobs from there."""
    workers = [worker for worker in seen if queue in worker.queues]
    states = {worker.state for worker in workers}
    if states & {WorkerState.READY, WorkerState.BUSY}:
        return None
    model = queue.removeprefix(_PREFIX)
    if not workers and queue not in served:
        return missing(model, models_of([*served, *(each for worker in seen for each in worker.queues)]))
    if not workers:
        return f"no worker serves {model} now; start one, or wait until one is started"
    names = ", ".join(sorted(state.value for state in states))
    return f"no worker of {model} takes jobs now; they are {names}"


def models_of(queues: Iterable[str]) -> tuple[str, ...]:
    """The models of *queues*, in the order of the alphabet."""
    return tuple(sorted({queue.removeprefix(_PREFIX) for queue in queues if queue != WEBHOOK_QUEUE}))


def missing(model: str, known: Sequence[str]) -> str:
    """That no worker has served *model*, and what there is."""
    there_are = "none has served any model yet; start one"
    if known:
        there_are = f"there are: {', '.join(known)}; name one of these, or start a worker of {model}"
    return f"no worker serves {model}; {there_are}"
