"""Children: processes that this one starts, watches and ends by their ids."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagefleet_worker import tether


class Child:
    """A running process of its own session, with both its outputs in one file, or in those of this process.

    Its own session, because Ctrl-C in a terminal is for the parent alone, which then ends its children in order. Where
    the parent cannot, because it was killed, Linux ends them.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path | None,
        env: Mapping[str, str] | None = None,
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Start *command* with the variables *env*, or those of this process.

        It gets *orphan_signal* when the calling thread ends: call it from one that lives as long as the process.
        """
        self.name = name
        self.log = log
        tied = [sys.executable, "-I", tether.__file__, str(os.getpid()), str(int(orphan_signal)), *command]
        variables = dict(os.environ if env is None else env)
        if log is None:
            self._process = subprocess.Popen(tied, stdin=subprocess.DEVNULL, env=variables, start_new_session=True)
            return
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                tied,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, and the negative number of the signal that ended it."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    def output(self) -> str:
        """What it has written to its log so far."""
        return self.log.read_text(errors="replace") if self.log else ""

    def last_words(self, lines: int = 15) -> str:
        """The end of its output, for an error message."""
        return "\n".join(self.output().splitlines()[-lines:])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended."""
        if self.is_running:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: where it runs on.
        """
        return self._process.wait(timeout_s)

    def stop(self, timeout_s: float = 10) -> int:
        """Ask it to end, kill it where it has not within *timeout_s*, and return its exit code."""
        self.send(signal.SIGTERM)
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it as a crash would."""
        self.send(signal.SIGKILL)
        return self.wait(10)


def stop_all(children: Sequence[Child], timeout_s: float = 10) -> None:
    """Ask all *children* to end at the same time, then wait for each; those that do not end are killed."""
    for child in children:
        child.send(signal.SIGTERM)
    for child in children:
        child.stop(timeout_s)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_taken(port: int) -> bool:
    """Whether something listens on *port* of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
