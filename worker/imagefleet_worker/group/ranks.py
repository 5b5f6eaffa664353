"""Ranks: the processes of a group on one machine, started together and ended together."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from imagefleet_worker.children import free_port
from imagefleet_worker.errors import ExitCode
from imagefleet_worker.group.places import Place

_HOST = "127.0.0.1"
_LOOK_EVERY_S = 0.1
#: For ranks to end by themselves after another has ended; those that hang are killed then.
_GRACE_S = 5.0


class Ranks:
    """*size* processes of this group; *arguments* are Celery's, for the leader."""

    def __init__(self, size: int, arguments: Sequence[str]) -> None:
        self._places = [
            Place(rank=rank, size=size, local_rank=rank, host=_HOST, port=port)
            for port in [free_port()]
            for rank in range(size)
        ]
        self._command = [sys.executable, "-m", "imagefleet_worker.group", *arguments]
        self._processes: list[subprocess.Popen[bytes]] = []

    def run(self) -> int:
        """Start them all and wait for the end; signals go to the leader, which drains.

        Returns:
            The exit code of the leader, or of the rank that ended first where the leader had to be killed;
            `DEVICE_GROUP_BROKEN` where a signal ended it.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._pass_on)
        for place in self._places:
            env = {**os.environ, **place.environment()}
            # In a session of its own, for Ctrl-C in a terminal would reach every rank.
            self._processes.append(subprocess.Popen(self._command, env=env, start_new_session=True))
        first = self._wait_for_one()
        self._wait_for_all(_GRACE_S)
        for process in self._processes:
            process.kill()
            process.wait()
        codes = [self._processes[0].returncode, first.returncode]
        return next((code for code in codes if code >= 0), ExitCode.DEVICE_GROUP_BROKEN)

    def _pass_on(self, number: int, _frame: object) -> None:
        if self._processes:
            self._processes[0].send_signal(number)

    def _wait_for_one(self) -> "subprocess.Popen[bytes]":
        pause = threading.Event()
        while True:
            for process in self._processes:
                if process.poll() is not None:
                    return process
            pause.wait(_LOOK_EVERY_S)

    def _wait_for_all(self, timeout_s: float) -> None:
        pause = threading.Event()
        for _ in range(int(timeout_s / _LOOK_EVERY_S)):
            if all(process.poll() is not None for process in self._processes):
                return
            pause.wait(_LOOK_EVERY_S)
