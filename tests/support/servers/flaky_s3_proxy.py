"""An HTTP proxy before a real S3 endpoint that misbehaves as told: errors, lost connections, delays."""

import http.client
import random
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})


class Fault(StrEnum):
    """What can happen to one request."""

    INTERNAL = "internal"
    SLOW_DOWN = "slow_down"
    #: The connection breaks before S3 has seen the request.
    RESET = "reset"
    #: S3 does what it was asked, and its answer is lost.
    LOST_ANSWER = "lost_answer"
    DELAY = "delay"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Weather:
    """The probability of each fault, and how long a delay is."""

    internal: float = 0
    slow_down: float = 0
    reset: float = 0
    lost_answer: float = 0
    delay: float = 0
    denied: float = 0
    delay_s: float = 1

    @classmethod
    def mixed(cls, rate: float, *, delay_s: float = 1) -> "Weather":
        """Faults that can heal, at *rate* together, each as likely as the others."""
        each = rate / 5
        return cls(internal=each, slow_down=each, reset=each, lost_answer=each, delay=each, delay_s=delay_s)

    def draw(self, chance: random.Random) -> Fault | None:
        """What happens to the next request."""
        roll = chance.random()
        for fault in Fault:
            roll -= getattr(self, fault.value)
            if roll < 0:
                return fault
        return None


FAIR = Weather()
_ANSWERS = {
    Fault.INTERNAL: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.DENIED: (403, "AccessDenied"),
}


class FlakyS3:
    """Listens on a free port of 127.0.0.1 and passes requests on to *endpoint_url*, as its `weather` allows."""

    def __init__(self, endpoint_url: str, *, weather: Weather = FAIR, seed: int = 0) -> None:
        """Begin to listen; *seed* is that of the faults."""
        self.weather = weather
        #: Answers to writes of keys that end so are held back for as long as it says so.
        self.holds_answers_of = ""
        #: How often each fault has come about.
        self.counts: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.requests = 0
        #: Requests whose senders asked if their bodies would be taken.
        self.questions = 0
        self._upstream = urlsplit(endpoint_url)
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The endpoint to use in the place of the real one."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def draw(self) -> Fault | None:
        """What happens to the request that has just come."""
        with self._lock:
            fault = self.weather.draw(self._chance)
            self.requests += 1
            if fault:
                self.counts[fault] += 1
            return fault

    def delay(self) -> None:
        """Wait as long as a delayed request waits."""
        self._closing.wait(self.weather.delay_s)

    def hold_answer(self, method: str, path: str) -> None:
        """Wait as long as the answer to such a request is held back."""
        while self.holds_answers_of and method == "PUT" and path.endswith(self.holds_answers_of):
            if self._closing.wait(0.05):
                return

    def pass_on(self, method: str, path: str, *, headers: dict[str, str], body: bytes) -> tuple[int, list[Any], bytes]:
        """Send a request to S3; gives its status, headers and body."""
        host, port = self._upstream.hostname or "127.0.0.1", self._upstream.port
        connection = http.client.HTTPConnection(host, port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: FlakyS3) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Workers are killed while they talk: their broken connections are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def _s3(self) -> FlakyS3:
        return self.server.owner  # type: ignore[attr-defined, no-any-return]  # a _Server

    def serve(self) -> None:
        """Answer one request."""
        body = self._body()
        fault = self._s3.draw()
        if fault is Fault.DELAY:
            self._s3.delay()
        if fault is Fault.RESET:
            self._break()
        elif fault and fault in _ANSWERS:
            self._refuse(*_ANSWERS[fault])
        else:
            self._pass_on(body, answers=fault is not Fault.LOST_ANSWER)

    def handle_expect_100(self) -> bool:
        """Say that the body may come."""
        self._s3.questions += 1
        return super().handle_expect_100()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = serve  # noqa: N815  # names of http.server

    def _pass_on(self, body: bytes, *, answers: bool) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            status, fields, answer = self._s3.pass_on(self.command, self.path, headers=headers, body=body)
        except OSError:
            self._break()
            return
        self._s3.hold_answer(self.command, self.path)
        if answers:
            self._answer(status, fields, answer)
        else:
            self._break()

    def _answer(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in fields:
            if name.lower() == "content-length":
                length = value  # of HEAD: the length of what is not sent
            elif name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as the test asked</Message></Error>"
        sent = b"" if self.command == "HEAD" else body.encode()
        self._answer(status, [("Content-Type", "application/xml")], sent)

    def _break(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is http.server's
        """Say nothing."""
