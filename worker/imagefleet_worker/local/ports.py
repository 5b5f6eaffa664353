"""Ports: the usual port of a server, or a free one if another program or another fleet has it."""

import socket
import sys
from typing import Final

from imagefleet_worker.supervision.child_process import free_port, is_taken

#: Sockets whose names other processes cannot take while this one lives.
_held: Final[list[socket.socket]] = []


def usual_port(port: int) -> int:
    """*port*, unless something listens there, or another process has been given it here; else a free one.

    A server of ours listens seconds after its port was chosen, and another fleet may start meanwhile.
    """
    return port if not is_taken(port) and _hold(port) else free_port()


def _hold(port: int) -> bool:
    """Whether no other process holds *port*; this one does then, until it ends."""
    if sys.platform != "linux":  # only Linux has names that end with their process
        return True
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0imagefleet-port-{port}")
    except OSError:
        name.close()
        return False
    _held.append(name)
    return True
