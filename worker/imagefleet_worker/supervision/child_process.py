"""Child processes: started, signalled and ended by this process, by their ids."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from imagefleet_worker.supervision import die_with_parent

_POLL_EVERY_S: Final = 0.1
#: Bytes from the end of a log that an error message may quote.
_TAIL_BYTES: Final = 16_384
#: Servers that a machine runs for others listen below it, as a rule.
_FIRST_PORT: Final = 10_000
_USUAL_FIRST_OUTGOING: Final = 32_768
_PORT_TRIES: Final = 20


class ChildProcess:
    """A process in a session of its own, whose outputs go to one file, or to the outputs of this process.

    The session is its own because Ctrl-C in a terminal signals every process of a session. It is for the parent alone,
    which then ends its children in order. If the parent is killed, Linux ends them.
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

        Linux sends it *orphan_signal* when the calling thread ends, so that thread must live as long as this process.
        """
        self.name = name
        self.log = log
        tied = [sys.executable, "-I", die_with_parent.__file__, str(os.getpid()), str(int(orphan_signal)), *command]
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
        """Its exit code; None while it runs. If a signal ended it: the signal's number, negative."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_code is None

    def output(self) -> str:
        """Everything in its log so far."""
        return self.log.read_text(errors="replace") if self.log else ""

    def log_tail(self, lines: int = 15) -> str:
        """The last *lines* of its log, for an error message; empty without a log."""
        if self.log is None:
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; does nothing after its end."""
        if self.is_running:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: if it still runs after *timeout_s*.
        """
        return self._process.wait(timeout_s)

    def stop(self, timeout_s: float = 10) -> int:
        """Ask it to end, kill it after *timeout_s*, and return its exit code."""
        self.send(signal.SIGTERM)
        return self.wait_or_kill(timeout_s)

    def wait_or_kill(self, timeout_s: float) -> int:
        """Wait for its end, kill it after *timeout_s*, and return its exit code."""
        try:
            return self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it as a crash would, and return its exit code."""
        self.send(signal.SIGKILL)
        return self.wait(10)


def wait_for_first(children: Sequence[ChildProcess]) -> ChildProcess:
    """Wait until one of *children* has ended, and return it."""
    pause = threading.Event()
    while True:
        for child in children:
            if not child.is_running:
                return child
        pause.wait(_POLL_EVERY_S)


def wait_or_kill_all(children: Sequence[ChildProcess], timeout_s: float) -> None:
    """Wait at most *timeout_s*, for all together, until *children* have ended; then kill those that run on."""
    deadline = time.monotonic() + timeout_s
    for child in children:
        child.wait_or_kill(max(0.0, deadline - time.monotonic()))


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now.

    On Linux it is none of those that the system gives to outgoing connections: one of them could take it before a
    server that starts does.
    """
    for _ in range(_PORT_TRIES):
        port = random.randrange(_FIRST_PORT, _first_outgoing_port())  # noqa: S311  # no secret
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _first_outgoing_port() -> int:
    """The first of the ports that the system gives to outgoing connections, of those above `_FIRST_PORT`."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):  # not Linux, or hidden
        first = _USUAL_FIRST_OUTGOING
    return first if first > _FIRST_PORT else _USUAL_FIRST_OUTGOING


def is_taken(port: int) -> bool:
    """Whether something listens on *port* of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
