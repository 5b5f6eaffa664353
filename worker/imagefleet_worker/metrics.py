"""Metrics: what a worker process counts, and the page on which Prometheus reads it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Final, Literal, ParamSpec, get_args
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)

from imagefleet.results import JobResult, JobStatus
from imagefleet_worker.errors import SettingsInvalid
from imagefleet_worker.scrape import Scrape, Sources
from imagefleet_worker.settings import MetricsSettings

log = structlog.get_logger(__name__)

P = ParamSpec("P")
Outcome = Literal["delivered", "postponed", "held", "given_up", "refused", "dropped"]

#: Seconds. A turbo image takes one, a large one on a full queue many minutes.
_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600, 1800)
_PHASES: Final = ("queued", "generate", "denoise", "decode", "encode", "upload")


def _harmless(count: Callable[P, None]) -> Callable[P, None]:
    """No number is worth a job: whatever goes wrong in *count* is logged, and that is all."""

    @wraps(count)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            count(*args, **kwargs)
        except Exception:  # what it may be is not known, and the job that is counted has done nothing wrong
            log.exception("not counted", what=count.__name__)

    return wrapper


@dataclass(frozen=True, slots=True)
class Page:
    """The HTTP server of the metrics."""

    port: int
    _server: WSGIServer
    _thread: threading.Thread

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


class Metrics:
    """Counts what happens to the jobs of *model*; every call is cheap, may come from any thread, and raises nothing."""

    def __init__(self, *, model: str) -> None:
        #: To be filled in as the parts of the process are opened.
        self.sources = Sources()
        #: Images of the jobs that ended here.
        self.images = 0
        self._model = model
        self._lock = threading.Lock()
        disable_created_metrics()  # else each counter brings a second family that nobody reads
        self._registry = registry = CollectorRegistry(auto_describe=False)
        self._jobs = Counter(
            "imagefleet_jobs", "Jobs that this worker ended.", ("model", "status", "code"), registry=registry
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
        registry.register(Scrape(self.sources))
        self._jobs.labels(model, JobStatus.SUCCEEDED.value, "")  # a rate needs a zero to begin with
        for outcome in get_args(Outcome):
            self._webhooks.labels(outcome)

    @_harmless
    def job_ended(self, result: JobResult) -> None:
        """A job's end has been recorded, by this process and no other."""
        code = result.error.code if result.error else ""
        self._jobs.labels(self._model, result.status.value, code).inc()
        if result.error:
            return
        with self._lock:
            self.images += len(result.artifacts)
        for phase in _PHASES:
            seconds: float | None = getattr(result.timings, f"{phase}_s")
            if seconds:  # a message that somebody made by hand does not say since when it waits
                self._job_seconds.labels(self._model, phase).observe(seconds)

    @_harmless
    def stepped(self) -> None:
        """One step of one job is done."""
        self._steps.inc()

    @_harmless
    def webhook(self, outcome: Outcome) -> None:
        """A webhook was tried."""
        self._webhooks.labels(outcome).inc()

    def page(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self._registry)

    def serve(self, settings: MetricsSettings) -> Page | None:
        """Serve the page from a thread of its own; None where the settings say that there is to be none.

        Raises:
            SettingsInvalid: where something else has the port.
        """
        if not settings.port:
            return None
        try:
            server, thread = start_http_server(settings.port, addr=settings.address, registry=self._registry)
        except OSError as error:
            raise SettingsInvalid(
                f"IMAGEFLEET_METRICS_PORT: cannot listen on {settings.address}:{settings.port} ({error}); "
                "each worker process of a machine needs a port of its own"
            ) from error
        return Page(server.server_port, server, thread)
