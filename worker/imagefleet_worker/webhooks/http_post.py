"""HTTP POST: one request to checked addresses, with one deadline for the whole of it.

An HTTP client library would resolve the name again, take proxies from the environment, follow redirects, and restart
its timeout at each byte that a receiver sends. So this module uses httpcore's single connection, on streams of its own.
The Host header still has the name, and the certificate must be for the name.
"""

import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpcore
import httpx
from typing_extensions import override

from imagefleet_worker.webhooks.ssrf_guard import Target

#: The body of a response is not used; no more than this is read.
_MOST_BODY_BYTES: Final = 65_536
#: A write is cut into pieces, and the deadline is checked before each.
_PIECE_BYTES: Final = 16_384

#: What httpcore raises if no response came.
NO_RESPONSE: Final = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ConnectionNotAvailable,
)


@dataclass(frozen=True, slots=True)
class Response:
    """A response, as far as it counts."""

    status: int
    #: The `Retry-After` header; empty if there is none.
    retry_after: str


def post(target: Target, body: bytes, *, headers: Mapping[str, str], timeout_s: float) -> Response:
    """Send *body* to *target* and read the response's head; connecting, TLS and sending are part of *timeout_s*.

    Raises:
        httpcore exceptions, those in `NO_RESPONSE`: If no response came in time.
    """
    own = {"host": target.host_header, "connection": "close"}
    origin = httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
    )
    deadline = time.monotonic() + timeout_s
    with (
        httpcore.HTTPConnection(
            origin.origin, ssl_context=_tls(), network_backend=_CheckedAddresses(target, deadline=deadline)
        ) as connection,
        connection.stream("POST", origin, headers=list({**own, **headers}.items()), content=body) as response,
    ):
        fields = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        # Only the status counts; the rest is read so that the receiver can finish its response.
        with suppress(*NO_RESPONSE):
            size = 0
            for chunk in response.iter_stream():
                size += len(chunk)
                if size > _MOST_BODY_BYTES:
                    break
        return Response(response.status, fields.get(b"retry-after", ""))


@cache
def _tls() -> ssl.SSLContext:
    """The certificate authorities of certifi, or those that `SSL_CERT_FILE` or `SSL_CERT_DIR` name."""
    return httpx.create_ssl_context()


class _CheckedAddresses(httpcore.NetworkBackend):
    """Connects to the checked addresses, one after the other, whatever name is requested."""

    def __init__(self, target: Target, *, deadline: float) -> None:
        self._target = target
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that accepts; each gets an equal share of the time that is left."""
        failure: Exception = httpcore.ConnectTimeout("no time left")
        for others, address in reversed(list(enumerate(reversed(self._target.addresses)))):
            try:
                stream = self._sockets.connect_tcp(
                    address,
                    port,
                    timeout=_left(self._deadline) / (others + 1),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, deadline=self._deadline)
        raise failure


class _DeadlineStream(httpcore.NetworkStream):
    """A stream on which all reads and writes together must end by the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, *, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=_left(self._deadline))

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE_BYTES):
            self._stream.write(buffer[start : start + _PIECE_BYTES], timeout=_left(self._deadline))

    @override
    def close(self) -> None:
        self._stream.close()

    @override
    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout=_left(self._deadline))
        return _DeadlineStream(stream, deadline=self._deadline)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("no time left")
    return left
