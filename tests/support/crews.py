"""`imagefleet-worker --devices` as a process of its own."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from imagefleet_worker import roll
from imagefleet_worker.children import Child
from tests.support.fleet import Fleet
from tests.support.processes import clean_environment
from tests.support.waiting import wait_until

COMMAND = (sys.executable, "-c", "from imagefleet_worker.cli import main; main()")


class CrewProcess:
    """The process, and what its roll says."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child = child
        self.folder = folder

    def entry(self, device: str) -> roll.Entry | None:
        """What the roll says of *device*."""
        found = roll.read(self.folder) if self.folder.exists() else None
        return next((each for each in found.devices if each.device == device), None) if found else None

    def wait_for(self, device: str, state: str, *, timeout_s: float = 90, besides: int | None = None) -> roll.Entry:
        """Wait until *device* is in *state*, with another process than *besides*.

        Raises:
            AssertionError: with the end of the log, where that does not come in time.
        """

        def there() -> roll.Entry | None:
            entry = self.entry(device)
            return entry if entry and entry.state == state and entry.pid != besides else None

        try:
            found = wait_until(there, timeout_s, every_s=0.1)
        except AssertionError as error:
            raise AssertionError(
                f"{device} is not {state}: {self.entry(device)}\n{self.child.last_words(60)}"
            ) from error
        assert found
        return found


@contextmanager
def running_crew(
    fleet: Fleet,
    folder: Path,
    *,
    devices: str = "cpu:2",
    options: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[CrewProcess]:
    """The workers of *devices* on the Redis, S3 and model of *fleet*; not ready yet, and ended with the context."""
    health = folder / "health"
    own = {**clean_environment(), **fleet.environment({"IMAGEFLEET_HEALTH_FOLDER": str(health), **(env or {})})}
    command = [*COMMAND, "--devices", devices, "--", "--without-mingle", "--without-gossip", *options]
    child = Child("crew", command, log=folder / "crew.log", env=own)
    try:
        yield CrewProcess(child, health)
    finally:
        child.stop(60)
