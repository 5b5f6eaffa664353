"""`imagefleet-worker --devices` as a process of its own."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.fleet.fleet import Fleet
from tests.support.fleet.processes import clean_environment
from tests.support.waiting import wait_until

from imagefleet_worker.health import device_status
from imagefleet_worker.supervision.child_process import ChildProcess

COMMAND = (sys.executable, "-c", "from imagefleet_worker.cli import main; main()")


class SupervisorProcess:
    """The process, and what it says of its devices."""

    def __init__(self, child: ChildProcess, folder: Path) -> None:
        self.child = child
        self.folder = folder

    def entry(self, device: str) -> device_status.DeviceStatus | None:
        """What the status file says of *device*."""
        found = device_status.read(self.folder) if self.folder.exists() else None
        return next((each for each in found.devices if each.device == device), None) if found else None

    def wait_for(
        self, device: str, state: str, *, timeout_s: float = 90, besides: int | None = None
    ) -> device_status.DeviceStatus:
        """Wait until *device* is in *state*, with another process than *besides*.

        Raises:
            AssertionError: with the end of the log, where that does not come in time.
        """

        def there() -> device_status.DeviceStatus | None:
            entry = self.entry(device)
            return entry if entry and entry.state == state and entry.pid != besides else None

        try:
            found = wait_until(there, timeout_s, every_s=0.1)
        except AssertionError as error:
            raise AssertionError(f"{device} is not {state}: {self.entry(device)}\n{self.child.log_tail(60)}") from error
        assert found
        return found


@contextmanager
def running_supervisor(
    fleet: Fleet,
    folder: Path,
    *,
    devices: str = "cpu:2",
    options: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[SupervisorProcess]:
    """The workers of *devices* on the Redis, S3 and model of *fleet*; not ready yet, and ended with the context."""
    health = folder / "health"
    own = {**clean_environment(), **fleet.environment({"IMAGEFLEET_HEALTH_FOLDER": str(health), **(env or {})})}
    command = [*COMMAND, "--devices", devices, "--", "--without-mingle", "--without-gossip", *options]
    child = ChildProcess("supervisor", command, log=folder / "supervisor.log", env=own)
    try:
        yield SupervisorProcess(child, health)
    finally:
        child.stop(60)
