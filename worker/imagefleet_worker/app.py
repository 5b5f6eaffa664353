"""The Celery app: makes Celery's configuration of the settings, and starts and ends the process at Celery's signals.

    CUDA_VISIBLE_DEVICES=0 celery -A imagefleet_worker.app worker -n gpu0@%h

consumes the queue of the model that the settings name. With `-Q imagefleet.webhooks` the same command is a sender of
webhooks, which loads no model and needs no device.
"""

import signal
import sys
from typing import Any

from celery import Celery, bootsteps, platforms, signals, states

from imagefleet.contract.queues import queue_for
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.supervision.requirements import WORKER, end_for_missing, missing

try:
    import structlog

    from imagefleet_worker.observability import logs, tracing
    from imagefleet_worker.process.celery_results import CeleryResults
    from imagefleet_worker.process.celery_worker import (
        THREAD_POOL,
        adapt,
        consumed_queues,
        has_own_tasks,
        start_of,
        time_limits_of,
    )
    from imagefleet_worker.process.consumer import RateLimitedConsumer
    from imagefleet_worker.process.current import begin, current
    from imagefleet_worker.process.ending import end_process
    from imagefleet_worker.process.remote_control import install_remote_control
    from imagefleet_worker.process.revoke import install_revoke
    from imagefleet_worker.process.start_check import ServedQueues, check_start
    from imagefleet_worker.process.typed_options import is_typed
    from imagefleet_worker.queue import purging_transport, transport
    from imagefleet_worker.queue.redis_client import url_for_celery
    from imagefleet_worker.settings import Settings, settings
except ModuleNotFoundError as error:
    end_for_missing(error, "celery -A imagefleet_worker.app")


log = structlog.get_logger(__name__)


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
        "broker_connection_max_retries": None,  # workers wait for a broker, however long it is away
        "result_backend": url_for_celery(values.redis),
        "result_backend_transport_options": options,
        "result_backend_always_retry": True,  # a restart of Redis must not fail a finished job
        "result_expires": values.redis.result_ttl_s,
        "redis_socket_timeout": socket_timeout_s,
        "redis_socket_connect_timeout": socket_timeout_s,
        "redis_socket_keepalive": True,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": queue_for(values.model.alias),
        "task_acks_late": True,
        "worker_pool": THREAD_POOL,
        "worker_consumer": f"{RateLimitedConsumer.__module__}:{RateLimitedConsumer.__name__}",
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
        end_process(ExitCode.SETTINGS_INVALID, error.message)


_values = _settings_or_exit()
app = Celery("imagefleet", include=["imagefleet_worker.tasks"], set_as_current=False)
app.conf.update(configuration(_values))
purging_transport.install(CeleryResults(app).purged)


class LoopBeat(bootsteps.StartStopStep):
    """Marks each second in which Celery's event loop turns, for probes."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def register_with_event_loop(self, parent: Any, hub: Any) -> None:  # noqa: ARG002  # Celery's signature
        """The loop is about to turn."""
        heartbeat = current().heartbeat
        heartbeat.consuming(yes=True)
        hub.timer.call_repeatedly(1.0, heartbeat.turn)

    def stop(self, parent: Any) -> None:  # noqa: ARG002  # Celery's signature
        """The loop has stopped: Celery ends, or connects again."""
        current().heartbeat.consuming(yes=False)


class LostMessageCheck(bootsteps.StartStopStep):
    """Looks for messages that Celery took and has lost: nobody sees an error in a thread that has begun no task."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    _timer: Any = None

    def register_with_event_loop(self, parent: Any, hub: Any) -> None:
        """The loop is about to turn."""
        self._timer = hub.timer.call_repeatedly(_values.lease.duration_s / 2, self._look, (parent,))

    def stop(self, parent: Any) -> None:  # noqa: ARG002  # Celery's signature
        """The loop has stopped."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, consumer: Any) -> None:
        limited = [item for bucket in consumer.task_buckets.values() if bucket for item in bucket.contents]
        waiting = {request.message.delivery_tag for request, _tokens in limited}
        current().lost_messages.end_lost(waiting=waiting, threads=consumer.pool.num_processes)


app.steps["consumer"].add(LoopBeat)
app.steps["consumer"].add(LostMessageCheck)


@signals.setup_logging.connect
def _configure_logs(loglevel: int | None = None, logfile: str | None = None, **_: Any) -> None:
    logs.configure(_values.worker, level=loglevel if is_typed("loglevel") else None, file=logfile)


@signals.celeryd_init.connect
def _prepare(**_: Any) -> None:
    transport.install(app)
    install_revoke(_values)
    install_remote_control()
    try:
        tracing.configure(_values.tracing)
    except SettingsInvalid as error:
        end_process(ExitCode.SETTINGS_INVALID, error.message)


@signals.worker_init.connect
def _begin(sender: Any = None, **_: Any) -> None:
    sender.setup_logging()  # Celery does so later, when the model is loaded
    try:
        _check(sender)
        adapt(sender)
        limits = time_limits_of(sender)
        begin(app, _values, name=sender.hostname, queues=lambda: consumed_queues(app), time_limits=limits)
    except Exception:  # Celery would drop it, and take jobs with a worker that has not started
        log.exception("the worker could not be started")
        sys.exit(ExitCode.INTERNAL_ERROR)


def _check(worker: Any) -> None:
    served = ServedQueues(_values.model.alias, has_own_tasks=has_own_tasks(app))
    try:
        url = configuration(_values)["broker_url"]
        check_start(start_of(worker), served=served, broker_url=url, missing_packages=missing(WORKER))
    except SettingsInvalid as error:
        end_process(ExitCode.SETTINGS_INVALID, error.message)


@signals.worker_ready.connect
def _handle_signals(**_: Any) -> None:
    _give_back_at("SIGQUIT")
    # Celery drains at the first Ctrl-C too, but then exits with 1, as if something had failed.
    platforms.signals["SIGINT"] = signal.getsignal(signal.SIGTERM)  # type: ignore[misc]


@signals.worker_shutting_down.connect
def _drain(how: str = "Warm", **_: Any) -> None:
    _give_back_at("SIGINT")  # the second Ctrl-C
    current().drain(at_once=how != "Warm")


def _give_back_at(signal_name: str) -> None:
    """Give back all jobs at that signal: Celery itself would cancel them, raise, and wait, because threads go on."""
    platforms.signals[signal_name] = lambda *_: current().drain(at_once=True)  # type: ignore[misc]


@signals.worker_shutdown.connect
def _end(**_: Any) -> None:
    current().give_back_rest()  # what Celery holds without running it, for a rate limit or in a pool that is full
    tracing.flush()


@signals.task_received.connect
def _note_received(request: Any = None, **_: Any) -> None:
    transport.note_received(request.message.delivery_tag)


@signals.task_internal_error.connect
def _end_internal_error(request: Any = None, exception: Any = None, **_: Any) -> None:
    current().lost_messages.end_failed((request.get("properties") or {}).get("delivery_tag", ""), exception)


@signals.task_prerun.connect
def _note_begun(task: Any = None, **_: Any) -> None:
    current().leases.note_begun(_token_of(task))


@signals.task_postrun.connect
def _acknowledge(task: Any = None, state: str = "", retval: Any = None, **_: Any) -> None:
    # In the task's own thread, because Celery's main loop may be ending, and not listen.
    if state == states.REJECTED and retval.requeue:
        current().leases.requeue(_token_of(task))
    else:
        current().leases.ack(_token_of(task))


def _token_of(task: Any) -> str:
    return (task.request.properties or {}).get("delivery_tag", "")
