"""The scrape: numbers that are read only when somebody asks for them, from what the process has opened by then."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import redis
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from imagefleet import overview
from imagefleet.queues import Keys
from imagefleet.records import Command
from imagefleet_worker import starting
from imagefleet_worker.leases import Leases

log = structlog.get_logger(__name__)

_ENGINE = {
    "imagefleet_device_busy_seconds": ("busy_seconds", "Time that the device spent in the model."),
    "imagefleet_forwards": ("forwards", "Forwards of the denoiser; each may serve several jobs."),
    "imagefleet_forward_rows": ("rows", "Rows in those forwards, without padding."),
}


def _nothing() -> dict[str, float]:
    return {}


@dataclass(slots=True)
class Sources:
    """Where the numbers come from; each is set once its part is open, and what is not there shows no samples."""

    #: `Engine.stats`.
    engine: Callable[[], Mapping[str, float]] = _nothing
    #: Bytes by kind; must not ask the driver of a device that may hang.
    memory: Callable[[], Mapping[str, float]] = _nothing
    leases: Leases | None = None
    #: A client that gives up within a second or two, so that a page without Redis comes in time.
    redis: "redis.Redis | None" = None
    keys: Keys = field(default_factory=Keys)
    #: The queues that this worker consumes.
    queues: tuple[str, ...] = field(default_factory=tuple)


class Scrape(Collector):
    """Everything that is not counted as it happens."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that asks would have us read Redis."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families; one whose source fails has no samples, and the page is made all the same."""
        for read in (self._engine, self._memory, self._leases, self._redis):
            yield from read()
        start = GaugeMetricFamily("imagefleet_start_seconds", "How long this process's start took.", labels=("phase",))
        for phase, seconds in starting.SECONDS.items():
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
            lost.add_metric([], leases.lost)
            taken.add_metric([], leases.redelivery.count)
        yield from (held, lost, taken)

    def _redis(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("imagefleet_queue_depth", "Messages that wait, in all levels.", labels=("queue",))
        oldest = GaugeMetricFamily(
            "imagefleet_queue_oldest_seconds", "Age of the oldest job that waits; 0 where none does.", labels=("queue",)
        )
        dead = GaugeMetricFamily("imagefleet_dead_letters", "Messages that nobody tries any more.")
        sources = self._sources
        replies = self._ask([overview.waiting(sources.keys, queue) for queue in sources.queues])
        for queue, reply in zip(sources.queues, replies, strict=False):
            waiting = overview.read_waiting(reply)
            depth.add_metric([queue], waiting.depth)
            if waiting.oldest_s is not None or not waiting.depth:
                oldest.add_metric([queue], waiting.oldest_s or 0)
        for count in replies[len(sources.queues) :]:
            dead.add_metric([], float(str(count)))
        yield from (depth, oldest, dead)

    def _ask(self, commands: list[Command]) -> list[object]:
        """The replies to *commands* and the number of dead letters; none where Redis does not answer."""
        if self._sources.redis is None:
            return []
        pipeline = self._sources.redis.pipeline(transaction=False)
        for command in (*commands, overview.dead_letters(self._sources.keys)):
            pipeline.execute_command(*command)
        try:
            return list(pipeline.execute())
        except redis.RedisError as error:
            log.debug("no numbers from redis", error=str(error))
            return []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # senders of webhooks do without torch
        return ""
