"""The guides' way and the fleet's, behind the same two calls: all jobs at once, and jobs that arrive over time."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import psutil
from tests.support.fleet.fleet import Fleet
from tests.support.fleet.processes import clean_environment
from tests.support.fleet.supervisor_process import SupervisorProcess, running_supervisor
from tests.support.waiting import wait_until

from imagefleet import Client
from imagefleet_worker.hardware.discovery import cuda_devices, parse_devices
from imagefleet_worker.supervision.child_process import ChildProcess, free_port

Job = dict[str, Any]
#: Moments of `time.monotonic` in which each image was stored, by key.
Stored = dict[str, float]


def all_devices() -> str:
    """As many devices as there are, at most two; two processes on the CPU where there are none."""
    return ",".join(cuda_devices()[:2]) or "cpu:2"


class Guide:
    """One form of the guides' way, loaded and waiting."""

    def __init__(self, fleet: Fleet, form: str, folder: Path, *, devices: str | None = None) -> None:
        self._form, self._folder, self._orders = form, folder, 0
        devices = devices or all_devices()
        #: What has been stored since the start.
        self.stored: Stored = {}
        self._processes = len(parse_devices(devices))
        options = [str(folder), str(fleet.model), form]
        if form == "accelerate":
            launch = [
                "torch.distributed.run",
                "--nproc-per-node",
                str(self._processes),
                "--master-port",
                str(free_port()),
            ]
            command = [sys.executable, "-m", *launch, "-m", "tests.benchmarks._guide", *options]
        else:
            command = [sys.executable, "-m", "tests.benchmarks._guide", *options, "--port", str(free_port())]
            command += ["--processes", str(self._processes)]
        started = time.monotonic()
        self.child = ChildProcess(
            form, command, log=folder / f"{form}.log", env={**clean_environment(), **fleet.s3.env}
        )
        ready = [folder / f"{form}.ready-{rank}" for rank in range(self._processes)]
        wait_until(lambda: all(path.exists() for path in ready) or not self.child.is_running, 300)
        assert self.child.is_running, self.child.log_tail(40)
        self.start_s = time.monotonic() - started

        self._done = [self._open(f"{form}.done-{rank}") for rank in range(self._processes)]
        #: What has been read of a line that was not all there.
        self._half_lines = [""] * self._processes

    def order(self, jobs: Sequence[Job], *, batch: int = 1) -> None:
        """Let the processes begin with *jobs*, so many in one call of the pipeline."""
        path = self._folder / f"{self._form}.order-{self._orders}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"jobs": list(jobs), "batch": batch}))
        new.replace(path)
        self._orders += 1

    def pause(self, *, yes: bool) -> None:
        """Stop its processes where they are, or let them go on."""
        _pause(self.child.pid, yes=yes)

    def has_stored(self, keys: AbstractSet[str]) -> bool:
        """Whether all images of *keys* are there; reads only what is new."""
        for rank, file in enumerate(self._done):
            *lines, self._half_lines[rank] = (self._half_lines[rank] + file.read()).split("\n")
            for entry in map(json.loads, lines):
                self.stored.setdefault(entry["key"], entry["at"])  # a single job is made by every process
        return keys <= self.stored.keys()

    def run(self, jobs: Sequence[Job], *, batch: int = 1) -> float:
        """Seconds from the order to the last image."""
        start = time.monotonic()
        self.order(jobs, batch=batch)
        keys = {job["key"] for job in jobs}
        wait_until(lambda: self.has_stored(keys), 300, every_s=0.005)
        return max(self.stored[key] for key in keys) - start

    def arriving(self, jobs: Sequence[Job], gaps_s: Sequence[float]) -> list[float]:
        """Seconds from each arrival to its image; each run takes what has gathered."""
        arrived, waiting = _arrivals(jobs, gaps_s)
        while not (len(arrived) == len(jobs) and self.has_stored(arrived.keys())):
            batch, waiting[:] = list(waiting), []
            if batch:
                self.run(batch)
            else:
                time.sleep(0.002)
        return [self.stored[key] - at for key, at in arrived.items()]

    def lost_after_kill(self, jobs: Sequence[Job]) -> int:
        """How many of *jobs* have no image in the end, where one process is killed half way."""
        keys = {job["key"] for job in jobs}
        self.order(jobs)
        wait_until(lambda: self.has_stored(set()) and len(keys & self.stored.keys()) >= len(jobs) // 2, 300)
        os.kill(self._makers()[-1].pid, signal.SIGKILL)
        wait_until(lambda: not self.child.is_running, 300)
        self.has_stored(keys)
        return len(keys - self.stored.keys())

    def _makers(self) -> list[psutil.Process]:
        family = psutil.Process(self.child.pid).children(recursive=True)
        return [each for each in family if "tests.benchmarks._guide" in " ".join(each.cmdline())]

    def _open(self, name: str) -> TextIO:
        path = self._folder / name
        path.touch()
        return path.open()

    def close(self) -> None:
        """End it, and all that it has started."""
        for file in self._done:
            file.close()
        family = psutil.Process(self.child.pid).children(recursive=True) if self.child.is_running else []
        self.child.stop(20)
        for process in family:
            if process.is_running():
                process.kill()


class Workers:
    """A fleet of `--devices` for one mode of the engine, which serves an alias of that name."""

    def __init__(self, supervisor: SupervisorProcess, client: Client, mode: str, *, start_s: float) -> None:
        self.supervisor, self.start_s = supervisor, start_s
        self._client, self._mode = client, mode

    def pause(self, *, yes: bool) -> None:
        """Stop its processes where they are, or let them go on; they hold no job then."""
        _pause(self.supervisor.child.pid, yes=yes)

    def submit(self, jobs: Sequence[Job]) -> list[str]:
        """Queue *jobs*."""
        return self._client.submit_many([self._as_job(job) for job in jobs])

    def run(self, jobs: Sequence[Job]) -> float:
        """Seconds from the submit to the last result, which comes after its image was stored."""
        start = time.monotonic()
        for result in self._client.as_completed(self.submit(jobs), timeout_s=300):
            result.raise_for_status()
        return time.monotonic() - start

    def arriving(self, jobs: Sequence[Job], gaps_s: Sequence[float]) -> list[float]:
        """Seconds from each arrival to its result."""
        took: list[float] = []
        threads: list[threading.Thread] = []

        def one(job: Job) -> None:
            start = time.monotonic()
            self._client.result(self.submit([job])[0], timeout_s=300).raise_for_status()
            took.append(time.monotonic() - start)

        for job, gap_s in zip(jobs, gaps_s, strict=True):
            time.sleep(gap_s)
            threads.append(threading.Thread(target=one, args=(job,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert len(took) == len(jobs)
        return took

    def lost_after_kill(self, jobs: Sequence[Job]) -> int:
        """How many of *jobs* have no image in the end, where one worker is killed half way."""
        ids, made = self.submit(jobs), 0
        for result in self._client.as_completed(ids, timeout_s=300):
            made += bool(result.artifacts)
            if made == len(jobs) // 2:
                entry = self.supervisor.entry(_first_device())
                assert entry
                assert entry.pid
                os.kill(entry.pid, signal.SIGKILL)
        return len(jobs) - made

    def _as_job(self, job: Job) -> Job:
        size = {"width": job["size"], "height": job["size"]}
        return {"prompt": job["prompt"], "steps": job["steps"], "seed": job["seed"], "model": self._mode, **size}


def _pause(pid: int, *, yes: bool) -> None:
    parent = psutil.Process(pid)
    for process in (parent, *parent.children(recursive=True)):
        process.send_signal(signal.SIGSTOP if yes else signal.SIGCONT)


def _first_device() -> str:
    return parse_devices(all_devices())[0].name


@contextmanager
def workers(
    fleet: Fleet, client: Client, mode: str, *, devices: str | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Workers]:
    """Workers in *mode* that take jobs; on all devices, unless *devices* names some."""
    devices = devices or all_devices()
    started = time.monotonic()
    own = {
        "IMAGEFLEET_MODEL_ALIAS": mode,
        "IMAGEFLEET_ENGINE_MODE": mode,
        "IMAGEFLEET_LEASE_DURATION_S": "10",
        "IMAGEFLEET_LIMIT_MAX_STEPS": "200",
    }
    with running_supervisor(fleet, fleet.folder / mode, devices=devices, env={**own, **(env or {})}) as supervisor:
        for seat in parse_devices(devices):
            supervisor.wait_for(seat.name, "ready", timeout_s=300)
        yield Workers(supervisor, client, mode, start_s=time.monotonic() - started)


def _arrivals(jobs: Sequence[Job], gaps_s: Sequence[float]) -> tuple[Stored, list[Job]]:
    """Let *jobs* come one by one: the moment in which each came, and those that wait."""
    arrived: Stored = {}
    waiting: list[Job] = []

    def arrive() -> None:
        for job, gap_s in zip(jobs, gaps_s, strict=True):
            time.sleep(gap_s)
            arrived[job["key"]] = time.monotonic()
            waiting.append(job)

    threading.Thread(target=arrive, daemon=True).start()
    return arrived, waiting
