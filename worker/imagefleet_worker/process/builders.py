"""Builders: parts of a process whose constructors take single settings and not the settings as a whole."""

from collections.abc import Callable

import redis

from imagefleet.store.keys import Keys
from imagefleet_worker.hardware.watchdog import Watchdog
from imagefleet_worker.health.heartbeat import Heartbeat
from imagefleet_worker.jobs.running import RunningAttempts
from imagefleet_worker.observability.collector import Sources
from imagefleet_worker.observability.metrics import Metrics
from imagefleet_worker.observability.queue_reader import QueueReader
from imagefleet_worker.observability.startup_timing import StartupTiming
from imagefleet_worker.process.engine_handle import EngineHandle
from imagefleet_worker.process.peers import Peers
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.leases import Leases
from imagefleet_worker.settings import Settings
from imagefleet_worker.webhooks.fresh_links import FreshLinks
from imagefleet_worker.webhooks.sender import WebhookSender


def build_leases(
    settings: Settings,
    client: "redis.Redis",
    *,
    attempts: RunningAttempts,
    worker: str,
    wake: Callable[[], None],
) -> Leases:
    """The leases of the process *worker*; without a name, jobs are not marked as running when they are claimed."""
    return Leases(
        client,
        keys=Keys(settings.redis.key_prefix),
        duration_s=settings.lease.duration_s,
        ended_ttl_s=settings.redis.result_ttl_s,
        tenant_jobs=settings.worker.tenant_jobs,
        loss_window_s=settings.lease.loss_window_s,
        worker=worker,
        listener=attempts,
        wake=wake,
    )


def build_heartbeat(settings: Settings, client: "redis.Redis", *, watchdog: Watchdog) -> Heartbeat:
    """The heartbeat of a process whose device *watchdog* watches."""
    return Heartbeat(
        settings.health.folder,
        client=client,
        device_signs=watchdog.signs,
        device_timeout_s=settings.engine.job_timeout_s,
    )


def build_metrics(
    settings: Settings,
    client: "redis.Redis",
    *,
    engine: EngineHandle,
    leases: Leases,
    timing: StartupTiming,
    queues: tuple[str, ...],
) -> Metrics:
    """The metrics of a consumer of *queues*."""
    sources = Sources(
        engine=engine.stats,
        memory=engine.memory,
        leases=leases,
        queues=QueueReader(client, Keys(settings.redis.key_prefix), queues, settings.metrics.due_within_s),
        start_seconds=timing.seconds,
    )
    return Metrics(model=settings.model.alias, sources=sources)


def build_peers(settings: Settings, client: "redis.Redis", *, owner: str) -> Peers:
    """The other workers that serve the model of the process *owner*."""
    return Peers(
        client,
        keys=Keys(settings.redis.key_prefix),
        model=settings.model.alias,
        owner=owner,
        most_failures=settings.health.max_failures,
    )


def build_sender(
    settings: Settings, client: "redis.Redis", *, leases: Leases, dead_letters: DeadLetterWriter, metrics: Metrics
) -> WebhookSender:
    """What sends the webhooks that the process holds under *leases*."""
    return WebhookSender(
        settings.webhook,
        client,
        keys=Keys(settings.redis.key_prefix),
        leases=leases,
        dead_letters=dead_letters,
        metrics=metrics,
        links=FreshLinks(settings.storage),
    )
