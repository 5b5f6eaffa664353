"""The life of a worker process: everything is opened before the first job, and handed back before the end."""

import atexit
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import redis
import structlog

from imagefleet.errors import InvalidJob
from imagefleet.queues import GENERATE_TASK, Keys, queue_for
from imagefleet.records import Claim
from imagefleet_worker import starting
from imagefleet_worker.burial import Burial
from imagefleet_worker.claims import Begun, Claimed
from imagefleet_worker.connections import connect, without_passwords
from imagefleet_worker.control import CancelListener
from imagefleet_worker.counter import Counter
from imagefleet_worker.deadlines import Deadlines
from imagefleet_worker.draining import Drain
from imagefleet_worker.envelopes import Malformed
from imagefleet_worker.errors import EXIT_CODES, ExitCode, JobCanceled, JobExpired, SettingsInvalid
from imagefleet_worker.flights import Flights
from imagefleet_worker.heartbeat import Heartbeat
from imagefleet_worker.leases import Leases
from imagefleet_worker.metrics import Metrics
from imagefleet_worker.precautions import take_precautions
from imagefleet_worker.presence import Presence
from imagefleet_worker.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Process:
    """What this process has opened."""

    settings: Settings
    keys: Keys
    leases: Leases
    flights: Flights
    heartbeat: Heartbeat
    metrics: Metrics
    presence: Presence
    #: `attempts.Desk`; not named here, because a sender of webhooks must not import torch.
    desk: Any = None
    counter: Counter | None = None
    burial: Burial | None = None


_process: _Process | None = None


def install_transport(app: Any, settings: Settings) -> None:
    """Make this process a worker: it claims messages under leases instead of popping them."""
    global _process  # noqa: PLW0603  # a process has one life
    from imagefleet_worker import transport  # noqa: PLC0415  # only workers, not `celery inspect`, need it

    keys = Keys(settings.redis.key_prefix)
    flights = Flights()
    leases = transport.install(app, settings, on_malformed=_on_malformed)
    leases.on_lost = flights.lose
    leases.on_cancel = flights.cancel
    metrics = Metrics(model=settings.model.alias)
    metrics.sources.leases, metrics.sources.keys = leases, keys
    heartbeat = _heartbeat(settings.health.folder)
    _process = _Process(
        settings=settings,
        keys=keys,
        leases=leases,
        flights=flights,
        heartbeat=heartbeat,
        metrics=metrics,
        presence=Presence(settings, keys=keys, leases=leases, flights=flights, heartbeat=heartbeat, metrics=metrics),
    )


def _heartbeat(folder: str) -> Heartbeat:
    try:
        return Heartbeat(folder)
    except OSError as error:
        _exit(ExitCode.SETTINGS_INVALID, f"IMAGEFLEET_HEALTH_FOLDER: {error}")


def open_worker(settings: Settings, *, worker: str, queues: tuple[str, ...]) -> None:
    """Reach Redis and, to make images, S3 and the model; ends the process with a named code where that fails."""
    process = _opened()
    starting.begun()
    makes_images = queue_for(settings.model.alias) in queues
    client = connect(settings.redis)
    try:
        client.ping()
    except redis.RedisError as error:
        _exit(ExitCode.REDIS_UNAVAILABLE, f"Redis at {without_passwords(settings.redis.url)} does not answer: {error}")
    burial = Burial(client, keys=process.keys, settings=settings.lease, worker=worker)
    process.burial = burial
    process.counter = Counter.opened(
        settings.webhook,
        client=client,
        keys=process.keys,
        leases=process.leases,
        burial=burial,
        metrics=process.metrics,
    )
    Deadlines(client, keys=process.keys)
    _show(process, worker=worker, queues=queues)
    if makes_images:
        take_precautions(settings.model)
        with starting.phase("import"):
            from imagefleet_worker import opening  # noqa: PLC0415  # imports torch, which senders do without

        try:
            process.desk = opening.open_desk(
                settings,
                client=client,
                worker=worker,
                keys=process.keys,
                leases=process.leases,
                flights=process.flights,
                burial=burial,
                metrics=process.metrics,
                heartbeat=process.heartbeat,
            )
        except tuple(EXIT_CODES) as error:
            _exit(EXIT_CODES[type(error)], error.message)
        process.presence.describe(
            device=process.desk.studio.engine.device_name, revision=process.desk.studio.engine.revision
        )
        CancelListener(client, keys=process.keys, on_cancel=process.flights.cancel)
    process.heartbeat.loaded()
    phases = {f"{name}_s": round(seconds, 2) for name, seconds in starting.SECONDS.items()}
    log.info("worker opened", worker=worker, makes_images=makes_images, seconds=round(starting.age_s(), 2), **phases)


def heartbeat() -> Heartbeat | None:
    """The heartbeat of this process; None where it is no worker."""
    return _process.heartbeat if _process else None


def _show(process: _Process, *, worker: str, queues: tuple[str, ...]) -> None:
    """Let probes, Prometheus and the fleet see what has been opened."""
    sources = process.metrics.sources
    hasty = process.settings.redis.model_copy(update={"socket_timeout_s": 2})  # pages and probes must come in time
    sources.redis, sources.queues = connect(hasty), queues
    try:
        process.metrics.serve(process.settings.metrics)
    except SettingsInvalid as error:
        _exit(ExitCode.SETTINGS_INVALID, error.message)
    process.heartbeat.watch_redis(connect(hasty))
    process.presence.begin(connect(hasty), worker=worker, queues=queues)
    atexit.register(process.presence.leave)


def desk() -> Any:
    """The `attempts.Desk` of this process."""
    desk = _opened().desk
    if desk is None:
        raise RuntimeError("this worker makes no images; it was started for another queue")
    return desk


def counter() -> Counter:
    """What deliveries of this process share."""
    counter = _opened().counter
    if counter is None:
        raise RuntimeError("the worker has not been opened")
    return counter


def claim_for(delivery_tag: str) -> Claim:
    """What this process shows to prove that it holds the message of *delivery_tag*."""
    return _opened().leases.claim_for(delivery_tag)


def begun(delivery_tag: str) -> Begun | None:
    """How the job of that message began as it was claimed; None where it has not begun."""
    return _opened().leases.begun(delivery_tag)


def acknowledge(request: Any) -> None:
    """Acknowledge from the job's own thread: Celery's main loop may be busy ending, and no longer listen."""
    tag = (getattr(request, "properties", None) or {}).get("delivery_tag")
    if _process is not None and tag and _process.leases.is_held(tag):
        _process.leases.ack(tag)


def refuse(request: Any, *, expired: bool) -> None:
    """Record the end of a job that Celery drops: revoked, or past the `expires` of its message."""
    if _process is None or _process.desk is None:
        return
    from imagefleet_worker.attempts import Message, refuse  # noqa: PLC0415  # imports torch

    tag = (getattr(request, "properties", None) or {}).get("delivery_tag", "")
    message = Message(str(request.id), claim_for(tag), redeliveries=0, kwargs=request.kwargs or {})
    error = JobExpired("the message had expired") if expired else JobCanceled("revoked before it ran")
    refuse(message, error, desk=_process.desk)


def _on_malformed(claimed: Claimed, problem: Malformed) -> None:
    process = _opened()
    if process.burial:
        process.burial.of_malformed(claimed, problem)
    if process.desk and problem.message_id and problem.task == GENERATE_TASK:
        from imagefleet_worker.attempts import Message, refuse  # noqa: PLC0415  # imports torch

        message = Message(problem.message_id, process.leases.claim_for(claimed.token), redeliveries=0, kwargs={})
        refuse(message, InvalidJob(problem.reason), desk=process.desk)


def drain(*, at_once: bool) -> None:
    """Take no more jobs, let the running ones end in time, hand the rest back; with *at_once* hand all back now."""
    if _process is None:
        return
    drain = Drain(
        leases=_process.leases,
        flights=_process.flights,
        heartbeat=_process.heartbeat,
        seconds=_process.settings.worker.drain_s,
        leave=_leave,
    )
    if at_once:
        drain.hand_back()
    drain.begin()


def _leave() -> None:
    process = _opened()
    process.presence.leave()
    if process.desk:
        process.desk.studio.farewell()


def _exit(code: ExitCode, sentence: str) -> NoReturn:
    sys.stderr.write(f"imagefleet: {sentence}\n")
    sys.exit(code)


def _opened() -> _Process:
    if _process is None:
        raise RuntimeError("no worker runs in this process")
    return _process
