"""A TCP proxy that can cut its connections, or let them hang as a vanished network does."""

import socket
import threading
from contextlib import suppress

_CHUNK = 65_536


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and passes bytes on to *port*."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._thread = threading.Thread(target=self._accept, name="tcp-proxy", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections are open through it, those that hang included."""
        with self._lock:
            return len([link for link in self._links if link.is_open])

    def cut(self) -> None:
        """Close every connection; new ones work."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.close()

    def redirect(self, port: int) -> None:
        """Pass new connections on to *port*; open ones stay where they are."""
        self._target = port

    def black_hole(self) -> int:
        """Let every open connection hang for ever: open, and no byte arrives. New ones work. Gives their number."""
        with self._lock:
            hanging = [link for link in self._links if link.is_open]
        for link in hanging:
            link.hangs.set()
        return len(hanging)

    def close(self) -> None:
        """Stop listening and close every connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:  # nobody listens there now, which the caller sees as a closed connection
                near.close()
                continue
            far.settimeout(None)
            link = _Link(near, far)
            with self._lock:
                self._links = [each for each in self._links if each.is_open]
                self._links.append(link)


class _Link:
    """One connection through the proxy."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.hangs = threading.Event()
        self.is_open = True
        self._sockets = (near, far)
        for each in self._sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._pump, args=(near, far), daemon=True).start()
        threading.Thread(target=self._pump, args=(far, near), daemon=True).start()

    def close(self) -> None:
        """Close both ends."""
        self.is_open = False
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if not self.hangs.is_set():  # what hangs takes bytes, and they go nowhere
                    target.sendall(data)
        if not self.hangs.is_set():
            self.close()
