"""`Launcher`: starts the ranks of a device group on one machine, and ends all of them when one has ended."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from imagefleet_worker.exit_codes import ExitCode
from imagefleet_worker.group.rank import Rank
from imagefleet_worker.supervision.child_process import ChildProcess, free_port, wait_for_first, wait_or_kill_all

_HOST: Final = "127.0.0.1"
#: Seconds that the other ranks may take to end after the first has ended; then they are killed.
_GRACE_S: Final = 5.0


class Launcher:
    """*size* ranks of one group; *arguments* are options of Celery, for the leader.

    A group is not restarted here: whatever started this process restarts all of it.
    """

    def __init__(self, size: int, arguments: Sequence[str]) -> None:
        port = free_port()
        self._ranks = [Rank(rank=rank, size=size, local_rank=rank, host=_HOST, port=port) for rank in range(size)]
        self._command = [sys.executable, "-m", "imagefleet_worker.group", *arguments]
        self._children: list[ChildProcess] = []

    def run(self) -> int:
        """Start all ranks and wait until they have ended; signals go to the leader, which drains.

        Returns:
            The exit code of the leader. If a signal ended the leader: that of the rank that ended first, or
            `DEVICE_GROUP_BROKEN` if a signal ended that one, too.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._pass_on)
        for rank in self._ranks:
            env = {**os.environ, **rank.environment()}
            self._children.append(ChildProcess(f"rank{rank.rank}", self._command, log=None, env=env))
        first = wait_for_first(self._children)
        wait_or_kill_all(self._children, _GRACE_S)
        codes = [self._children[0].exit_code, first.exit_code]
        return next((code for code in codes if code is not None and code >= 0), ExitCode.DEVICE_GROUP_BROKEN)

    def _pass_on(self, number: int, _frame: object) -> None:
        if self._children:
            self._children[0].send(signal.Signals(number))
