"""Real worker processes, started as the README says."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from imagefleet_worker.children import Child
from imagefleet_worker.local_fleet import is_ready
from tests.support.waiting import wait_until


def clean_environment() -> dict[str, str]:
    """The variables of this process without those of imagefleet, and with one CPU thread for torch."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGEFLEET_", "AWS_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "AWS_EC2_METADATA_DISABLED": "true", "PYTHONUNBUFFERED": "1"}


def start_worker(
    env: Mapping[str, str],
    folder: Path,
    *,
    name: str = "worker",
    options: tuple[str, ...] = (),
    app: str = "imagefleet_worker.app",
) -> Child:
    """Start `celery -A imagefleet_worker.app worker` with *env* besides a clean environment, and do not wait."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"{name}@%h", *options]
    return Child(name, command, log=folder / f"{name}.log", env={**clean_environment(), **env})


def wait_until_ready(child: Child, timeout_s: float = 90) -> None:
    """Wait until the worker takes jobs.

    Raises:
        AssertionError: with the end of its log, where it has ended or is not ready within *timeout_s*.
    """

    def ready() -> bool:
        """The worker is ready."""
        if not child.is_running:
            raise AssertionError(f"{child.name} ended with {child.exit_code}:\n{child.last_words(40)}")
        return is_ready(child)

    try:
        wait_until(ready, timeout_s, every_s=0.1)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{child.last_words(40)}") from error


@contextmanager
def running_worker(
    env: Mapping[str, str],
    folder: Path,
    *,
    name: str = "worker",
    options: tuple[str, ...] = (),
    app: str = "imagefleet_worker.app",
) -> Generator[Child]:
    """A worker that is ready, ended by its pid when the context ends."""
    child = start_worker(env, folder, name=name, options=options, app=app)
    try:
        wait_until_ready(child)
        yield child
    finally:
        child.stop(40)
