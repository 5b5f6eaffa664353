"""The Celery app: settings become Celery's configuration, and Celery's signals become the life of the process.

    CUDA_VISIBLE_DEVICES=0 celery -A imagefleet_worker.app worker -n gpu0@%h

consumes the queue of the model that the settings name. With `-Q imagefleet.webhooks` the same command is a sender of
webhooks, which loads no model and needs no device.
"""

import signal
import sys
import traceback
from typing import Any

from celery import Celery, bootsteps, platforms, signals

from imagefleet.queues import queue_for
from imagefleet_worker import lifecycle, telemetry, tracing
from imagefleet_worker.connections import url_for_celery
from imagefleet_worker.errors import ExitCode, SettingsInvalid
from imagefleet_worker.revocation import Revocation
from imagefleet_worker.settings import Settings, settings


def configuration(values: Settings) -> dict[str, Any]:
    """Celery's configuration for *values*."""
    socket_timeout_s = values.redis.socket_timeout_s
    options = {
        "global_keyprefix": values.redis.key_prefix,
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": socket_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 5,
    }
    if values.redis.sentinel_master:
        options["master_name"] = values.redis.sentinel_master
    return {
        "broker_url": url_for_celery(values.redis),
        "broker_transport_options": options,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a fleet outlives a broker that is away for an hour
        "result_backend": url_for_celery(values.redis),
        "result_backend_transport_options": options,
        "result_backend_always_retry": True,  # a finished job is no failure because Redis restarts
        "result_expires": values.redis.result_ttl_s,
        "redis_socket_timeout": socket_timeout_s,
        "redis_socket_connect_timeout": socket_timeout_s,
        "redis_socket_keepalive": True,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": queue_for(values.model.alias),
        "task_acks_late": True,
        "worker_pool": "threads",  # one process owns the device, and answers `inspect` while it works
        "worker_concurrency": values.worker.concurrency,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "enable_utc": True,
    }


def _settings_or_exit() -> Settings:
    try:
        return settings()
    except SettingsInvalid as error:
        sys.stderr.write(f"imagefleet: {error.message}\n")
        sys.exit(ExitCode.SETTINGS_INVALID)


_values = _settings_or_exit()
app = Celery("imagefleet", include=["imagefleet_worker.tasks"], set_as_current=False)
app.conf.update(configuration(_values))


class LoopBeat(bootsteps.StartStopStep):
    """Marks each second in which Celery's event loop turns, for probes."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def register_with_event_loop(self, parent: Any, hub: Any) -> None:  # noqa: ARG002  # Celery's signature
        """The loop is about to turn."""
        if beat := lifecycle.heartbeat():
            beat.consuming(yes=True)
            hub.timer.call_repeatedly(1.0, beat.turn)

    def stop(self, parent: Any) -> None:  # noqa: ARG002  # Celery's signature
        """The loop has been left: Celery ends, or connects again."""
        if beat := lifecycle.heartbeat():
            beat.consuming(yes=False)


app.steps["consumer"].add(LoopBeat)


@signals.setup_logging.connect
def _log(**_: Any) -> None:
    telemetry.configure(_values.worker)


@signals.celeryd_init.connect
def _prepare(**_: Any) -> None:
    lifecycle.install_transport(app, _values)
    Revocation.install(_values)
    try:
        tracing.configure(_values.tracing)
    except SettingsInvalid as error:
        sys.stderr.write(f"imagefleet: {error.message}\n")
        sys.exit(ExitCode.SETTINGS_INVALID)


@signals.worker_init.connect
def _open(sender: Any = None, **_: Any) -> None:
    try:
        lifecycle.open_worker(_values, worker=sender.hostname, queues=tuple(app.amqp.queues.consume_from))
    except Exception:  # noqa: BLE001  # Celery would drop it, and take jobs with a worker that is half open
        traceback.print_exc()
        sys.exit(ExitCode.INTERNAL_ERROR)


@signals.worker_ready.connect
def _hear_signals(**_: Any) -> None:
    _hand_back_at("SIGQUIT")
    # Celery drains at the first Ctrl-C too, and then exits with 1, as if something had failed.
    platforms.signals["SIGINT"] = signal.getsignal(signal.SIGTERM)  # type: ignore[misc]


@signals.worker_shutting_down.connect
def _drain(how: str = "Warm", **_: Any) -> None:
    _hand_back_at("SIGINT")  # the second Ctrl-C
    lifecycle.drain(at_once=how != "Warm")


def _hand_back_at(signal_name: str) -> None:
    """Celery's own way to end at once is to cancel what runs, which it cannot with threads: it raises, and waits."""
    platforms.signals[signal_name] = lambda *_: lifecycle.drain(at_once=True)  # type: ignore[misc]


@signals.worker_shutdown.connect
def _flush(**_: Any) -> None:
    tracing.flush()


@signals.task_postrun.connect
def _acknowledge(task: Any = None, **_: Any) -> None:
    lifecycle.acknowledge(task.request)
