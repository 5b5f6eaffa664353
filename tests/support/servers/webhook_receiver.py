"""A real HTTP receiver of webhooks."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from imagefleet.webhooks import Event


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    #: With lower-case names.
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> Event:
        """The body, read as a webhook's."""
        return Event.model_validate_json(self.body)


@dataclass(frozen=True)
class _Reply:
    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0


class Receiver:
    """Listens on a free port of 127.0.0.1, keeps every request and answers as it is told (204 until then)."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._reply = _Reply()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where to send to."""
        return f"http://127.0.0.1:{self.port}/hook"

    def reply(self, status: int, headers: Mapping[str, str] | None = None, *, delay_s: float = 0) -> None:
        """Answer from now on with *status* and *headers*, *delay_s* after the request came."""
        self._reply = _Reply(status, headers or {}, delay_s)

    def wait_for(self, count: int, timeout_s: float = 10) -> list[Received]:
        """Wait until *count* requests have come, and return all.

        Raises:
            AssertionError: where fewer have come within *timeout_s*.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.requests) >= count, timeout_s):
                raise AssertionError(f"{len(self.requests)} of {count} requests came within {timeout_s} s")
            return list(self.requests)

    def forget(self) -> None:
        """As new: no requests, and 204 for the next."""
        with self._changed:
            self.requests.clear()
        self._reply = _Reply()

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, request: Received) -> _Reply:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        self._closing.wait(self._reply.delay_s)
        return self._reply

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                reply = take(Received(self.command, self.path, headers, body))
                try:
                    self.send_response(reply.status)
                    for name, value in {"Content-Length": "0", **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the sender did not wait for the answer

            do_POST = do_GET = do_PUT = _answer  # noqa: N815  # the names that http.server calls

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's name
                """Write nothing: the requests are kept."""

        return Handler
