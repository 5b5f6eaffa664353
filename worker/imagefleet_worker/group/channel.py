"""Channels: the line between the leader and one follower, which also shows that the other is alive.

A socket and not a collective of torch.distributed: a group may be idle for days, and collectives have a timeout; a
process that dies is noticed at once, and one that hangs when its beats stay away.
"""

import socket
import threading

from imagefleet.errors import reason_of
from imagefleet_worker.errors import GroupBroken
from imagefleet_worker.group.protocol import BEAT, READ_LOGS, MessageKind, RankMessage

#: Beats that may be missed; a group that was paused as a whole misses one when it goes on.
_BEATS = 4


class Channel:
    """One end of a line. Any thread may send; one thread receives."""

    def __init__(self, connection: socket.socket, *, other: str, timeout_s: float) -> None:
        """Take over *connection*; *other* is what error messages call the other end."""
        self.other = other
        self._connection = connection
        self._timeout_s = timeout_s
        self._received = b""
        self._sending = threading.Lock()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout_s / _BEATS)

    def beat(self) -> None:
        """From now on let the other end know that this process is alive."""
        threading.Thread(target=self._beat, name="group-beat", daemon=True).start()

    def send(self, word: RankMessage) -> None:
        """Send *word*.

        Raises:
            GroupBroken: where the other end is gone, or takes nothing any more.
        """
        try:
            with self._sending:
                self._connection.sendall(word.line())
        except OSError as error:
            raise GroupBroken(f"{self.other} has ended: {reason_of(error)}; {READ_LOGS}") from error

    def receive(self) -> RankMessage:
        """Wait for the next word that is no beat, for as long as there are beats.

        Raises:
            GroupBroken: where the other end is gone, or has been silent for the timeout.
        """
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if not newline:
                self._received += self._read()
                continue
            self._received = rest
            word = RankMessage.heard(line)
            if word.kind is not MessageKind.BEAT:
                return word

    def _read(self) -> bytes:
        for _ in range(_BEATS):
            try:
                data = self._connection.recv(65_536)
            except TimeoutError:
                continue
            except OSError as error:
                raise GroupBroken(f"{self.other} has ended: {reason_of(error)}; {READ_LOGS}") from error
            if not data:
                raise GroupBroken(f"{self.other} has ended; {READ_LOGS}")
            return data
        raise GroupBroken(f"{self.other} has been silent for {self._timeout_s:g} s; {READ_LOGS}")

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._timeout_s / _BEATS / 2):
            try:
                self.send(BEAT)
            except GroupBroken:  # who receives hears of it, too
                return
