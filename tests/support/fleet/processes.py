"""Real worker processes, started as the README says."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.fleet.forked_worker import ForkedWorker
from tests.support.waiting import wait_until

from imagefleet_worker.supervision.child_process import ChildProcess


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
    is_forked: bool = True,
) -> ChildProcess:
    """Start `celery -A imagefleet_worker.app worker` with *env* besides a clean environment, and do not wait.

    If it *is_forked*, torch is in its memory from the start.
    """
    arguments = ["-A", app, "worker", "-n", f"{name}@%h", *options]
    log, variables = folder / f"{name}.log", {**clean_environment(), **env}
    if is_forked:
        return ForkedWorker(name, arguments, log=log, env=variables)
    return ChildProcess(name, [sys.executable, "-m", "celery", *arguments], log=log, env=variables)


def is_ready(child: ChildProcess) -> bool:
    """Whether Celery has begun to consume: it logs `<name> ready.` then, for any app."""
    return any("@" in line and " ready." in line for line in child.output().splitlines())


def wait_until_ready(child: ChildProcess, timeout_s: float = 90) -> None:
    """Wait until the worker takes jobs.

    Raises:
        AssertionError: with the end of its log, where it has ended or is not ready within *timeout_s*.
    """

    def ready() -> bool:
        """The worker is ready."""
        if not child.is_running:
            raise AssertionError(f"{child.name} ended with {child.exit_code}:\n{child.log_tail(40)}")
        return is_ready(child)

    try:
        wait_until(ready, timeout_s, every_s=0.1)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{child.log_tail(40)}") from error


@contextmanager
def running_worker(
    env: Mapping[str, str],
    folder: Path,
    *,
    name: str = "worker",
    options: tuple[str, ...] = (),
    app: str = "imagefleet_worker.app",
    is_forked: bool = True,
) -> Generator[ChildProcess]:
    """A worker that is ready, ended by its pid when the context ends."""
    child = start_worker(env, folder, name=name, options=options, app=app, is_forked=is_forked)
    try:
        wait_until_ready(child)
        yield child
    finally:
        child.stop(40)
