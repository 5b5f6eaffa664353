"""The life of a worker process: its parts, built in order, started before the first job and stopped after the last."""

import atexit
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from imagefleet.contract.queues import GENERATE_TASK, queue_for
from imagefleet.store.keys import Keys
from imagefleet_worker.diffusion.environment import restrict_huggingface
from imagefleet_worker.diffusion.image_checker import load_checker
from imagefleet_worker.exit_codes import EXIT_CODES, ExitCode
from imagefleet_worker.hardware.watchdog import Watchdog
from imagefleet_worker.jobs.running import RunningAttempts
from imagefleet_worker.observability.metrics_server import MetricsServer
from imagefleet_worker.observability.startup_timing import StartupTiming
from imagefleet_worker.process.builders import build_heartbeat, build_leases, build_metrics, build_peers, build_sender
from imagefleet_worker.process.celery_results import CeleryResults
from imagefleet_worker.process.drain import Drain
from imagefleet_worker.process.ending import end_process
from imagefleet_worker.process.engine_handle import EngineHandle
from imagefleet_worker.process.lost_messages import LostMessages
from imagefleet_worker.process.opening import log_opening
from imagefleet_worker.process.redis_check import check_redis
from imagefleet_worker.process.refusals import Refusals
from imagefleet_worker.process.registration import Registration
from imagefleet_worker.process.start_check import TimeLimits
from imagefleet_worker.queue import transport
from imagefleet_worker.queue.cancellation import CancelListener
from imagefleet_worker.queue.dead_letters import DeadLetterWriter
from imagefleet_worker.queue.deadlines import DeadlineLoop
from imagefleet_worker.queue.loop_waker import LoopWaker
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import Settings
from imagefleet_worker.storage.provenance import open_provenance

if TYPE_CHECKING:  # torch, which a sender of webhooks does without
    from imagefleet_worker.jobs.runner import JobRunner

log = structlog.get_logger(__name__)

#: The page of the metrics, the heartbeat and the registration must not wait long for Redis.
_SHORT_TIMEOUT_S = 2


class WorkerProcess:
    """All parts of one worker process, in the order in which they are built: each is given those that it needs."""

    def __init__(
        self, app: Any, settings: Settings, *, name: str, queues: Callable[[], tuple[str, ...]], time_limits: TimeLimits
    ) -> None:
        """Build the parts of the worker *name*, which consumes *queues* for the Celery app *app*; start nothing."""
        self._app, self._settings, self._name, self._queues = app, settings, name, queues
        #: Whether it loads the model: decided at the start, by the queues that it consumes then.
        self.makes_images = queue_for(settings.model.alias) in queues()
        #: Of jobs that bring none.
        self.time_limits = time_limits
        self._timing = StartupTiming()
        self._keys = keys = Keys(settings.redis.key_prefix)
        self._redis = client = connect(settings.redis)
        quick_client = connect(settings.redis.model_copy(update={"socket_timeout_s": _SHORT_TIMEOUT_S}))
        self._waker = LoopWaker()
        self._engine = EngineHandle()
        #: What this process holds and runs.
        self.attempts = attempts = RunningAttempts()
        worker = name if self.makes_images else ""
        self.leases = leases = build_leases(settings, client, attempts=attempts, worker=worker, wake=self._waker.wake)
        self._watchdog = Watchdog(settings.engine.job_timeout_s, on_hang=leases.device_entries.note_end)
        self.heartbeat = build_heartbeat(settings, quick_client, watchdog=self._watchdog)
        self._metrics = metrics = build_metrics(
            settings, quick_client, engine=self._engine, leases=leases, timing=self._timing, queues=queues()
        )
        self._metrics_server = MetricsServer(metrics, settings.metrics)
        self._registration = Registration(
            settings,
            quick_client,
            keys=keys,
            leases=leases,
            attempts=self.attempts,
            heartbeat=self.heartbeat,
            metrics=metrics,
            engine=self._engine,
            worker=name,
            queues=queues,
        )
        self._dead_letters = DeadLetterWriter(client, keys=keys, settings=settings.lease, worker=name)
        self._deadlines = DeadlineLoop(client, keys=keys)
        self._cancel_listener = CancelListener(client, keys=keys, on_cancel=self.attempts.cancel)
        self.webhook_sender = build_sender(
            settings, client, leases=leases, dead_letters=self._dead_letters, metrics=metrics
        )
        #: Built at the start, because the model must be loaded for it; a sender of webhooks has none.
        self._runner: JobRunner | None = None
        self.refusals = Refusals(
            leases=leases, dead_letters=self._dead_letters, results=CeleryResults(app), runner=lambda: self._runner
        )
        self.lost_messages = LostMessages(leases, self.refusals, after_s=settings.lease.duration_s)

    def start(self) -> None:
        """Start every part, and load the model if this worker makes images; exits with a named code if that fails."""
        try:
            self._start_heartbeat()
            check_redis(self._redis, self._settings.redis.url)
            self._metrics_server.start()
            self._deadlines.start()
            self._registration.start()
            atexit.register(self.stop)
            if self.makes_images:
                self._runner = self._build_runner()
                self._runner.start()
                self._watchdog.start()
                self._cancel_listener.start()
            self._start_claiming()
        except tuple(EXIT_CODES) as error:
            end_process(EXIT_CODES[type(error)], error.message)
        self.heartbeat.loaded()
        log_opening(self._name, self._settings, self._engine, self._timing, queues=self._queues())

    def stop(self) -> None:
        """Stop every part; what is still held goes to other workers when its lease runs out."""
        self._registration.stop()  # first: nobody should count on this process any more
        self._cancel_listener.stop()
        self._deadlines.stop()
        if self._runner:
            self._runner.stop()
        self._watchdog.stop()
        self.leases.close()
        self._metrics_server.stop()
        self.heartbeat.stop()  # last: until here, probes should see the process

    def drain(self, *, at_once: bool) -> None:
        """Claim no more jobs, finish the running ones in time, and give back the rest; *at_once* gives back all now."""
        drain = self._drain()
        if at_once:
            drain.give_back()
        drain.begin()

    def give_back_rest(self) -> None:
        """Give back what is still held: nothing runs any more, and what no thread has begun is nobody's work."""
        self.leases.stop_claiming()
        if count := self.leases.give_back_all():
            log.info("gave back what had not begun", messages=count)

    @property
    def runner(self) -> "JobRunner":
        """What runs jobs.

        Raises:
            RuntimeError: If this worker makes no images.
        """
        if self._runner is None:
            raise RuntimeError(f"this worker makes no images: start it with -Q {queue_for(self.model)}")
        return self._runner

    @property
    def model(self) -> str:
        """The alias of the model that the settings name."""
        return self._settings.model.alias

    @property
    def device_name(self) -> str:
        """The device, for people; empty before the model is loaded."""
        return self._engine.device_name or ""

    def leave(self, sentence: str, code: ExitCode = ExitCode.INTERNAL_ERROR) -> NoReturn:
        """Give back every message and end with *code*: this worker cannot run what it claims, and others may."""
        self._drain().give_back(code=code, sentence=sentence)

    def _drain(self) -> Drain:
        return Drain(
            leases=self.leases,
            attempts=self.attempts,
            heartbeat=self.heartbeat,
            seconds=self._settings.worker.drain_s,
            most_silence_s=self._settings.redis.socket_timeout_s,
            unregister=self._unregister,
        )

    def _can_use_one(self) -> bool:
        """Whether the engine has capacity for one more job than those that are on their way to it."""
        coming = self.attempts.coming()
        return self._engine.has_capacity(coming=coming.jobs, concurrency_limit=coming.concurrency_limit)

    def _unregister(self) -> None:
        self._engine.stop()  # first: the other ranks of a device group should end well, whatever Redis does
        self._registration.stop()

    def _start_heartbeat(self) -> None:
        try:
            self.heartbeat.start()
        except OSError as error:
            end_process(ExitCode.SETTINGS_INVALID, f"IMAGEFLEET_HEALTH_FOLDER: {error}")

    def _start_claiming(self) -> None:
        transport.claim_with(
            self._settings,
            self.leases,
            tasks=lambda: self._app.tasks,
            waker=self._waker,
            can_use_one=self._can_use_one,
            on_malformed=self.refusals.malformed,
            leave=self.leave,
            unserved=() if self.makes_images else (GENERATE_TASK,),
        )

    def _build_runner(self) -> "JobRunner":
        """Reach the bucket and load the model. Raises as the functions that it calls."""
        checker = load_checker(self._settings.model)
        provenance = open_provenance(self._settings.provenance)
        with self._timing.phase("storage"):
            from imagefleet_worker.process.image_storage import open_storage  # noqa: PLC0415  # imports boto3

            uploader = open_storage(self._settings, self._redis, on_room=self._waker.wake)
        restrict_huggingface(self._settings.model)
        with self._timing.phase("import"):
            from imagefleet_worker.process import calibrations, startup  # noqa: PLC0415  # imports torch

        image_maker = startup.build_image_maker(
            self._settings,
            uploader,
            checker,
            provenance,
            worker=self._name,
            entries=self.leases.device_entries,
            watchdog=self._watchdog,
            handle=self._engine,
            on_capacity=self._waker.wake,
            calibrations=calibrations.RedisCalibrations(self._redis, keys=self._keys),
            timing=self._timing,
            peers=build_peers(self._settings, self._redis, owner=self.leases.owner),
            leave=self.leave,
        )
        return startup.build_job_runner(
            self._settings,
            self._redis,
            keys=self._keys,
            leases=self.leases,
            attempts=self.attempts,
            image_maker=image_maker,
            metrics=self._metrics,
            dead_letters=self._dead_letters,
            worker=self._name,
        )
