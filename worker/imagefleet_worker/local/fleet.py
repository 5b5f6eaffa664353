"""`LocalFleet`: an embedded Redis and S3, a worker for each device and a webhook sender, on one machine."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.contract.validation_errors import describe_validation_error
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.hardware.discovery import DeviceSlot
from imagefleet_worker.health import device_status
from imagefleet_worker.local import webhook_secret
from imagefleet_worker.local.models import LocalModel, group_slot, slots_for
from imagefleet_worker.local.redis_server import EmbeddedRedis
from imagefleet_worker.local.s3_server import EmbeddedS3
from imagefleet_worker.local.webhook_secret import secrets_for
from imagefleet_worker.settings import DevicesSettings, GroupKind, GroupSettings, MetricsSettings, WorkerSettings
from imagefleet_worker.supervision.device_worker import LaunchOptions, WorkerEnd
from imagefleet_worker.supervision.supervisor import Supervisor

_SENDER: Final = DeviceSlot("webhooks", {"CUDA_VISIBLE_DEVICES": ""})
_POLL_EVERY_S: Final = 0.1

S = TypeVar("S", bound=BaseSettings)


class LocalFleet:
    """Everything that a job needs, as child processes of this one; a context manager.

    All that it keeps is in the folder *data*: the queue, the images, the secret of webhooks, logs and heartbeats.
    """

    def __init__(
        self,
        data: Path,
        *,
        models: Sequence[LocalModel],
        workers: int | None = None,
        redis_port: int | None = None,
        s3_port: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a fleet for *models*; *env* are further settings of its workers.

        *workers* is their number, one for each device without it; several models share the devices, or have as many
        workers each on the CPU.

        Raises:
            SettingsInvalid: naming the `IMAGEFLEET_*` variable that cannot be used, or models without a device.
        """
        data = data.resolve()
        self._logs = data / "logs"
        self._health = data / "health"
        self.webhook_secrets = secrets_for(data, os.environ)
        self.redis = EmbeddedRedis(data / "redis", port=redis_port)
        self.s3 = EmbeddedS3(self._logs, objects=data / "s3", port=s3_port)
        self._env = {**self.connection(), "PYTHONUNBUFFERED": "1", **(env or {})}
        is_group = _read(GroupSettings).kind is not GroupKind.NONE
        slots = group_slot(models, workers) if is_group else slots_for(models, workers)
        launches = [
            self._launch(slot, {**model.environment(), **_metrics_port(index)}, is_group=is_group)
            for index, (slot, model) in enumerate(slots)
        ]
        launches.append(self._launch(_SENDER, _metrics_port(len(slots)), options=["-Q", WEBHOOK_QUEUE]))
        self._names = [launch.name for launch in launches]
        self._supervisor = Supervisor(
            launches,
            restarts=_read(DevicesSettings),
            drain_s=_read(WorkerSettings).drain_s,
            health=self._health,
        )
        self._stopping = threading.Event()
        self._is_hurried = False

    @property
    def names(self) -> list[str]:
        """The names of the processes that make images or send webhooks."""
        return list(self._names)

    def connection(self) -> dict[str, str]:
        """The variables with which clients find the queue, anyone finds the images, and receivers verify webhooks."""
        secrets = {webhook_secret.VARIABLE: self.webhook_secrets}
        return {"IMAGEFLEET_REDIS_URL": self.redis.url, **self.s3.environment(), **secrets}

    def start(self, timeout_s: float = 600) -> None:
        """Start all of it, and return when every worker takes jobs, or early after `ask_to_stop`.

        Raises:
            LocalUnavailable: if a part ends or is not ready in time; nothing is left running then.
        """
        try:
            self._health.mkdir(parents=True, exist_ok=True)
            for name in self._names:
                self._log_of(name).unlink(missing_ok=True)  # of an earlier fleet
            self.redis.start()
            self.s3.start()
            self._wait_until_ready(timeout_s)
        except BaseException:
            self.stop()
            raise

    @property
    def is_stopping(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stopping.is_set()

    def ask_to_stop(self) -> None:
        """Let `start` and `watch` return soon; the second time, let `stop` hand back running jobs.

        Safe to call from signal handlers.
        """
        self._is_hurried = self._stopping.is_set()
        self._stopping.set()

    def watch(self) -> Iterator[WorkerEnd]:
        """Until `ask_to_stop`, restart workers that end, and yield each end.

        Raises:
            LocalUnavailable: if Redis or S3 ended, or no worker is left.
        """
        while not self._stopping.wait(_POLL_EVERY_S):
            for server in (self.redis.child, self.s3.child):
                if server is not None and not server.is_running:
                    raise LocalUnavailable(f"{server.name} ended; read the end of {server.log}:\n{server.log_tail()}")
            yield from self._supervisor.poll()
            if self._supervisor.is_over:
                table = device_status.as_table(self._supervisor.statuses())
                raise LocalUnavailable(f"no worker is left; read their logs in {self._logs}\n{table}")

    def stop(self) -> None:
        """Let the workers finish their jobs, then end everything."""
        supervisor, is_hurried = self._supervisor, False
        supervisor.drain()
        pause = threading.Event()
        while not supervisor.is_over:
            if self._is_hurried and not is_hurried:
                is_hurried = True
                supervisor.drain()
            supervisor.poll()
            pause.wait(_POLL_EVERY_S)
        self.s3.stop()
        self.redis.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._stopping.wait(_POLL_EVERY_S):
            if ends := self._supervisor.poll():
                raise self._ended(ends[0])
            waiting = self._supervisor.not_ready
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise LocalUnavailable(
                    f"{', '.join(waiting)}: not ready after {timeout_s:g} s; read their logs in {self._logs}"
                )

    def _ended(self, end: WorkerEnd) -> LocalUnavailable:
        """With the sentence that the worker ended with, or the end of its log if it had none."""
        log, prefix = self._log_of(end.name), "imagefleet: "
        said = [line.removeprefix(prefix) for line in end.log_tail.splitlines() if line.startswith(prefix)]
        if said:
            return LocalUnavailable(f"{said[-1]} (worker {end.name} ended with {end.exit_code}; read its log: {log})")
        return LocalUnavailable(f"worker {end.name} ended with {end.exit_code}; read the end of {log}:\n{end.log_tail}")

    def _log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _launch(
        self, slot: DeviceSlot, own: Mapping[str, str], *, options: Sequence[str] = (), is_group: bool = False
    ) -> LaunchOptions:
        usual = {"IMAGEFLEET_WEBHOOK_ALLOW_HOSTS": "127.0.0.1,localhost"}  # receivers of one machine are on it
        env = {**usual, **os.environ, **slot.env, **own, **self._env}
        return LaunchOptions(slot.name, env=env, options=options, log=self._log_of(slot.name), is_group=is_group)


def _metrics_port(index: int) -> dict[str, str]:
    """The port for metrics of process number *index*: the one that is set for the first, one more for each other."""
    port = _read(MetricsSettings).port
    return {"IMAGEFLEET_METRICS_PORT": str(port + index)} if port else {}


def _read(group: type[S]) -> S:
    """The settings of *group* in this environment; the fleet itself needs few, its workers read the others.

    Raises:
        SettingsInvalid: naming the variables.
    """
    try:
        return group()
    except ValidationError as error:
        raise SettingsInvalid(
            f"{group.model_config.get('env_prefix')}*: {describe_validation_error(error)}; correct it"
        ) from error
