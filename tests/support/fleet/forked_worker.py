"""A Celery worker's process that is forked from one which has imported torch and diffusers already.

Those imports are nine tenths of the CPU time that a worker of a tiny model takes to start, and they are no part of this
project. What runs in the process is what `python -m celery` runs. The image, `imagefleet up`, `imagefleet-worker` and
device groups start their workers as new programs, and their tests do.
"""

import atexit
import ctypes
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from imagefleet_worker.supervision.child_process import ChildProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_SET_PARENT_DEATH_SIGNAL = 1  # of linux/prctl.h
_PRELOADED = ["imagefleet_worker.diffusion.engine", "celery.bin.celery", "celery.concurrency.thread"]


class ForkedWorker(ChildProcess):
    """`celery -A APP worker ...` with the variables *env* and no others; its outputs go to *log*."""

    def __init__(self, name: str, arguments: Sequence[str], *, log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        _start_server()
        process = _CONTEXT.Process(
            target=_become_celery, args=(list(arguments), dict(env), str(log)), name="MainProcess", daemon=True
        )
        # The new process would import the program that runs here, and with it what reads the variables of this process.
        with mock.patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            process.start()
        self._process: Any = _PopenOf(process)


class _PopenOf:
    """A process of `multiprocessing` as `subprocess.Popen` shows one."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        assert process.pid
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return self._process.exitcode


@functools.cache
def _start_server() -> None:
    """Start the process with the imports: with one thread for OpenMP, which asks when it is loaded."""
    from multiprocessing import forkserver  # noqa: PLC0415  # a module that not every platform has

    _CONTEXT.set_forkserver_preload(_PRELOADED)
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
        forkserver.ensure_running()


def _become_celery(arguments: list[str], env: dict[str, str], log: str) -> None:
    """Run Celery's command in this new process, as in one that was started with *env* and a log of its own."""
    os.setsid()
    if sys.platform == "linux":  # it ends with the process that forked it, which ends with the tests
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [str(Path.cwd()), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["celery", *arguments]
    from celery.__main__ import main  # noqa: PLC0415  # only in the new process

    try:
        main()
    finally:  # a process of `multiprocessing` ends without these
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
