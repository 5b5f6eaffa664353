"""Containers of the images under test, as hardened as the chart makes its pods."""

import json
import os
import shutil
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.needs import missing
from tests.support.waiting import wait_until

WORKER, LIGHT = "localhost/imagefleet-worker:test", "localhost/imagefleet-light:test"
MODEL = "/models/tiny"
#: A nested engine may raise no limits, and without systemd crun does not start.
_ENGINE = ("--runtime", "runc")
_HARDENED = (
    "--network=host",
    "--read-only",
    "--read-only-tmpfs=false",  # else podman makes /var/tmp and more of it writable
    "--tmpfs=/tmp:rw,noexec,nosuid,size=256m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--ulimit=nofile=10000:20000",
    "--ulimit=nproc=4096:4096",
)


def podman(*arguments: str, check: bool = True, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run podman, and say what it said where it fails."""
    program = shutil.which("podman") or missing("no podman")
    done = subprocess.run(
        [program, *_ENGINE, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert not check or done.returncode == 0, f"podman {' '.join(arguments[:3])}: {done.stdout}{done.stderr}"
    return done


class Container:
    """One that runs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def log(self) -> str:
        """Everything that it wrote."""
        done = podman("logs", self.name, check=False)
        return done.stdout + done.stderr

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run *command* in it."""
        return podman("exec", self.name, *command, check=False)

    def wait_until_ready(self, timeout_s: float = 120) -> None:
        """Wait until the probe says that it takes jobs."""

        def ready() -> bool:
            """The container is ready."""
            assert self.state()["Running"], self.log()
            return self.run("imagefleet-worker", "health", "ready").returncode == 0

        try:
            wait_until(ready, timeout_s, every_s=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error

    def stop(self, *, seconds: int) -> int:
        """As an orchestrator stops it; gives the exit code."""
        podman("stop", "--time", str(seconds), self.name, timeout_s=seconds + 30)
        return int(self.state()["ExitCode"])

    def state(self) -> dict[str, int]:
        """What the engine knows about it."""
        return dict(json.loads(podman("inspect", self.name).stdout)[0]["State"])


@contextmanager
def running(
    image: str, *, env: Mapping[str, str], mounts: Mapping[Path, str] | None = None, command: tuple[str, ...] = ()
) -> Generator[Container]:
    """A container of *image*, gone when the context ends."""
    name = f"imagefleet-test-{os.urandom(4).hex()}"
    options = [f"--env={key}={value}" for key, value in env.items()]
    options += [f"--volume={source}:{target}:ro" for source, target in (mounts or {}).items()]
    podman("run", "--detach", f"--name={name}", *_HARDENED, *options, image, *command)
    try:
        yield Container(name)
    finally:
        podman("rm", "--force", "--time", "0", name, check=False)


def output_of(image: str, *command: str) -> str:
    """What *command* writes in a container of its own."""
    return podman("run", "--rm", *_HARDENED, image, *command).stdout
