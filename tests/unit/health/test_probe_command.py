"""A probe as Kubernetes calls it, every few seconds: a process that costs next to nothing."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from imagefleet_worker.health import heartbeat_file, probes

PROBES_NEED = (".health.heartbeat_file", ".health.limits", ".health.probes")


def _probe(folder: Path, probe: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """One call of the console script, and the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = Path(sys.executable).with_name("imagefleet-worker")
    env = {**os.environ, probes.FOLDER_VARIABLE: str(folder)}
    done = subprocess.run([str(script), "health", probe], env=env, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_probe_costs_less_than_a_tenth_of_a_second(tmp_path: Path) -> None:
    """Of CPU, as the script that Kubernetes calls; the least of five, because others run here, too."""
    own = heartbeat_file.birth_of(os.getpid()) or ""
    now = heartbeat_file.now()
    beat = heartbeat_file.Beat(os.getpid(), own, now, "ready", now, True, now, now, "", now, now, None, now, 900)  # noqa: FBT003  # as a tuple
    heartbeat_file.write(str(tmp_path), beat)
    results = [_probe(tmp_path, probe) for probe in ("live", "ready", "startup", "live", "live")]

    assert [done.returncode for done, _ in results] == [0] * 5
    assert results[0][0].stdout == "ready: the device is free\n"
    assert min(seconds for _, seconds in results) < 0.1


def test_a_probe_loads_nothing_heavy() -> None:
    """Neither of the libraries that make it slow, nor this project's modules that need them."""
    code = "import sys; import imagefleet_worker.cli, imagefleet_worker.health.probes; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    ours = {name for name in loaded if name.startswith("imagefleet")}
    assert ours == {f"imagefleet_worker{name}" for name in ("", ".cli", ".health", *PROBES_NEED)}
    assert not {"torch", "celery", "kombu", "pydantic", "typer", "redis", "structlog"} & set(loaded)
