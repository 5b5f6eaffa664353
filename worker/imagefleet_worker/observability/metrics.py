"""Metrics: what a worker process counts, as Prometheus reads it."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Final, Literal, ParamSpec, get_args

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from imagefleet.contract.results import JobResult, JobStatus
from imagefleet_worker.observability.collector import Sources, WorkerCollector

log = structlog.get_logger(__name__)

P = ParamSpec("P")
DeliveryOutcome = Literal["delivered", "postponed", "held", "given_up", "refused", "dropped"]

#: Seconds. An image of a turbo model takes one, a large image on a full queue many minutes.
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800)
_PHASES: Final = ("queued", "generate", "denoise", "decode", "encode", "upload")


def _harmless(count: Callable[P, None]) -> Callable[P, None]:
    """Log whatever goes wrong in *count* instead of raising it: a number must not fail a job."""

    @wraps(count)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            count(*args, **kwargs)
        except Exception:  # any error: the job that is counted has done nothing wrong
            log.exception("not counted", what=count.__name__)

    return wrapper


class Metrics:
    """Counts what happens to the jobs of *model*; every call is cheap, may come from any thread, and raises nothing."""

    def __init__(self, *, model: str, sources: Sources = Sources()) -> None:  # noqa: B008  # frozen
        #: Images of the jobs that ended in this process.
        self.images = 0
        #: Warnings in the results of these jobs.
        self.warnings = 0
        #: Of whom an autoscaler may ask.
        self.queues = sources.queues
        self._model = model
        self._lock = threading.Lock()
        disable_created_metrics()  # otherwise each counter adds a second family that nobody reads
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self._jobs = Counter(
            "imagefleet_jobs", "Jobs that this worker ended.", ("model", "status", "code"), registry=registry
        )
        self._warnings = Counter(
            "imagefleet_job_warnings", "Warnings in the results of jobs.", ("model", "code"), registry=registry
        )
        self._job_seconds = Histogram(
            "imagefleet_job_seconds",
            "Where the time of succeeded jobs went.",
            ("model", "phase"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._steps = Counter("imagefleet_steps", "Denoising steps, each counted for each job.", registry=registry)
        self._webhooks = Counter(
            "imagefleet_webhook_deliveries", "Tries at webhooks, by what came of them.", ("outcome",), registry=registry
        )
        registry.register(WorkerCollector(sources))
        self._jobs.labels(model, JobStatus.SUCCEEDED.value, "")  # a rate needs a zero to begin with
        for outcome in get_args(DeliveryOutcome):
            self._webhooks.labels(outcome)

    @_harmless
    def job_ended(self, result: JobResult) -> None:
        """Count a job whose end this process has recorded."""
        code = result.error.code if result.error else ""
        self._jobs.labels(self._model, result.status.value, code).inc()
        for warning in result.warnings:
            self._warnings.labels(self._model, warning.code).inc()
        if result.error:
            return
        with self._lock:
            self.images += len(result.artifacts)
            self.warnings += len(result.warnings)
        for phase in _PHASES:
            seconds: float | None = getattr(result.timings, f"{phase}_s")
            if seconds:  # a message that was made by hand does not say since when it waits
                self._job_seconds.labels(self._model, phase).observe(seconds)

    @_harmless
    def stepped(self) -> None:
        """Count one step of one job."""
        self._steps.inc()

    @_harmless
    def webhook(self, outcome: DeliveryOutcome) -> None:
        """Count one try at a webhook."""
        self._webhooks.labels(outcome).inc()

    def page(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self.registry)
