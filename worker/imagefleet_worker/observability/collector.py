"""The collector: numbers that are read from the parts of the process only when Prometheus asks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import redis
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from imagefleet.errors import reason_of
from imagefleet.store.queue_stats import Counts
from imagefleet_worker.observability.queue_reader import QueueReader
from imagefleet_worker.queue.leases import Leases

log = structlog.get_logger(__name__)

_ENGINE = {
    "imagefleet_device_busy_seconds": ("busy_seconds", "Time that the device spent in the model."),
    "imagefleet_forwards": ("forwards", "Forwards of the denoiser; each may serve several jobs."),
    "imagefleet_forward_rows": ("rows", "Rows in those forwards, without padding."),
    "imagefleet_graph_replays": ("graph_replays", "Forwards that were replayed from a CUDA graph."),
    "imagefleet_text_rows": ("text_rows", "Texts whose encodings may be kept, once for each text encoder."),
    "imagefleet_text_rows_reused": ("text_rows_reused", "Texts of those that were known, and not encoded again."),
}

_QUEUES = {
    "imagefleet_queue_depth": "Messages that wait, in all levels.",
    "imagefleet_queue_oldest_seconds": "Age of the oldest job that waits; 0 where none does.",
    "imagefleet_queue_running": "Messages that workers hold.",
    "imagefleet_queue_demand": "Messages that wait, run, or fall due soon.",
}

_LEFT_BEHIND = "left_behind_"


def _nothing() -> dict[str, float]:
    return {}


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts that the numbers come from; a part that is not given shows no samples."""

    #: `Engine.stats`; empty before the model is loaded.
    engine: Callable[[], Mapping[str, float]] = _nothing
    #: Bytes by kind. It must not ask the driver of a device that may hang.
    memory: Callable[[], Mapping[str, float]] = _nothing
    leases: Leases | None = None
    queues: QueueReader = field(default_factory=QueueReader)
    #: Seconds that each phase of the start took.
    start_seconds: Mapping[str, float] = field(default_factory=dict)


class WorkerCollector(Collector):
    """All numbers that are not counted as they happen."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that asks would have us read Redis."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families; one whose source fails has no samples, and the rest of the page is made."""
        for read in (self._engine, self._memory, self._leases, self._redis):
            yield from read()
        start = GaugeMetricFamily("imagefleet_start_seconds", "How long this process's start took.", labels=("phase",))
        for phase, seconds in self._sources.start_seconds.items():
            start.add_metric([phase], seconds)
        yield start
        build = GaugeMetricFamily(
            "imagefleet_build_info", "Versions; always 1.", labels=("version", "torch", "diffusers")
        )
        build.add_metric([_version("imagefleet"), _version("torch"), _version("diffusers")], 1)
        yield build

    def _engine(self) -> Iterator[Metric]:
        stats = self._sources.engine()
        for name, (source, meaning) in _ENGINE.items():
            family = CounterMetricFamily(name, meaning)
            if source in stats:
                family.add_metric([], stats[source])
            yield family
        refused = GaugeMetricFamily("imagefleet_joining_refused", "1 if jobs of this model must not be joined, else 0.")
        if "joining_refused" in stats:
            refused.add_metric([], stats["joining_refused"])
        behind = CounterMetricFamily(
            "imagefleet_calls_left_behind", "Parked calls that a batch did not take, by the reason.", labels=("reason",)
        )
        for source, count in stats.items():
            if source.startswith(_LEFT_BEHIND):
                behind.add_metric([source.removeprefix(_LEFT_BEHIND)], count)
        yield from (refused, behind)

    def _memory(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "imagefleet_device_memory_bytes", "Memory of the device as torch sees it.", labels=("kind",)
        )
        for kind, size in self._sources.memory().items():
            family.add_metric([kind], size)
        yield family

    def _leases(self) -> Iterator[Metric]:
        held = GaugeMetricFamily("imagefleet_leases_held", "Messages that this process holds.")
        lost = CounterMetricFamily("imagefleet_leases_lost", "Messages that another worker took from this process.")
        taken = CounterMetricFamily("imagefleet_redeliveries", "Messages that this process took from silent workers.")
        if leases := self._sources.leases:
            held.add_metric([], leases.count())
            lost.add_metric([], leases.thread.lost)
            taken.add_metric([], leases.redelivery.count)
        yield from (held, lost, taken)

    def _redis(self) -> Iterator[Metric]:
        by_name = {name: GaugeMetricFamily(name, meaning, labels=("queue",)) for name, meaning in _QUEUES.items()}
        delayed = GaugeMetricFamily("imagefleet_delayed", "Messages that wait for a time.")
        dead = GaugeMetricFamily("imagefleet_dead_letters", "Messages that nobody tries any more.")
        try:
            queues, delayed_count, letters = self._sources.queues.all()
        except redis.RedisError as error:
            log.debug("no numbers from redis", error=reason_of(error))
        else:
            for queue, counts in queues.items():
                for name, value in _of_queue(counts).items():
                    by_name[name].add_metric([queue], value)
            delayed.add_metric([], delayed_count)
            dead.add_metric([], letters)
        yield from (*by_name.values(), delayed, dead)


def _of_queue(counts: Counts) -> dict[str, float]:
    """The values of one queue; the age is left out if the oldest messages have no record."""
    oldest_s = counts.waiting.oldest_s
    values: dict[str, float] = {
        "imagefleet_queue_depth": counts.waiting.depth,
        "imagefleet_queue_running": counts.running,
        "imagefleet_queue_demand": counts.demand,
    }
    if oldest_s is not None or not counts.waiting.depth:
        values["imagefleet_queue_oldest_seconds"] = oldest_s or 0
    return values


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a sender of webhooks has no torch
        return ""
