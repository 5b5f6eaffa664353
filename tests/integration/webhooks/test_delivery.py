"""Deliveries to real receivers: polite, slow, endless, redirecting, renamed, and behind TLS."""

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook
from tests.support.servers.webhook_receiver import Receiver

from imagefleet import webhooks
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.errors import InvalidSignature
from imagefleet.webhooks import Delivery, Event
from imagefleet_worker.settings import WebhookSettings
from imagefleet_worker.webhooks import http_post
from imagefleet_worker.webhooks.delivery import deliver
from imagefleet_worker.webhooks.errors import AddressRefused, DeliveryFailed, DeliveryGone

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes ...").decode()
THIRD = "whsec_" + base64.b64encode(b"the third one, of 32 bytes .....").decode()
OTHER = "whsec_" + base64.b64encode(b"another one, of 32 bytes .......").decode()
EVENT = Event.for_result(
    JobResult(
        id="job-1",
        status=JobStatus.SUCCEEDED,
        finished_at=datetime(2026, 1, 2, tzinfo=UTC),
        metadata={"title": "Hündchen 🐶"},
    )
)
#: Far from what a clock says now, so that a wrong clock would be seen.
NOW = 1_800_000_000.0


def delivery(url: str, *, body: str = "") -> Delivery:
    return Delivery(url=url, event_id=EVENT.id, body=body or EVENT.model_dump_json())


def settings(*secrets: str, timeout_s: float = 5, allow: tuple[str, ...] = ("127.0.0.0/8",)) -> WebhookSettings:
    return WebhookSettings(secrets=secrets, allow_hosts=allow, timeout_s=timeout_s)  # type: ignore[arg-type]  # strings


@contextmanager
def raw_receiver(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A receiver on bare sockets: *talk* gets each connection, and an event that is set at the end; gives its URL."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        talk(connection, over)
                    except OSError:
                        continue  # the sender has had enough

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def read_request(connection: socket.socket) -> None:
    """Read one request to its end: what is left unread when a socket closes breaks the answer, too."""
    with connection.makefile("rb") as stream:
        size = 0
        while (line := stream.readline()).strip():
            name, _, value = line.lower().partition(b":")
            size = int(value) if name == b"content-length" else size
        stream.read(size)


def test_a_receiver_gets_the_very_bytes_with_headers_that_any_library_verifies(receiver: Receiver) -> None:
    sent = delivery(f"{receiver.url}?token=1&x=%20")

    deliver(sent, settings=settings(SECRET), now=time.time())

    (request,) = receiver.wait_for(1)
    assert (request.method, request.path) == ("POST", "/hook?token=1&x=%20")
    assert request.body == sent.body.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("imagefleet/")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["webhook-id"] == EVENT.id
    assert webhooks.verify(request.body, request.headers, secret=SECRET) == EVENT
    assert Webhook(SECRET).verify(request.body, dict(request.headers)) == json.loads(sent.body)


def test_the_time_of_the_signature_is_the_callers(receiver: Receiver) -> None:
    deliver(delivery(receiver.url), settings=settings(SECRET), now=NOW + 0.9)

    (request,) = receiver.wait_for(1)
    assert request.headers["webhook-timestamp"] == str(int(NOW))
    assert webhooks.verify(request.body, request.headers, secret=SECRET, now=NOW) == EVENT


def test_while_secrets_are_rotated_each_signs(receiver: Receiver) -> None:
    deliver(delivery(receiver.url), settings=settings(OTHER, SECRET), now=time.time())

    (request,) = receiver.wait_for(1)
    for secret in (OTHER, SECRET):
        assert webhooks.verify(request.body, request.headers, secret=secret) == EVENT
        assert Webhook(secret).verify(request.body, dict(request.headers))


def test_without_secrets_nothing_claims_to_be_signed(receiver: Receiver) -> None:
    deliver(delivery(receiver.url), settings=settings(), now=NOW)

    assert "webhook-signature" not in receiver.wait_for(1)[0].headers


def test_an_endpoint_with_secrets_of_its_own_is_signed_with_those(receiver: Receiver) -> None:
    """Two while it rotates; another receiver's secret is worth nothing there, nor is its own elsewhere."""
    own = WebhookSettings(
        secrets=(SECRET,),  # type: ignore[arg-type]  # strings
        endpoint_secrets={f"http://127.0.0.1:{receiver.port}/team-a": (OTHER, THIRD)},  # type: ignore[dict-item]  # strings
        allow_hosts=("127.0.0.0/8",),
    )

    deliver(delivery(f"http://127.0.0.1:{receiver.port}/team-a/hook?x=1"), settings=own, now=time.time())
    deliver(delivery(f"http://127.0.0.1:{receiver.port}/team-ab"), settings=own, now=time.time())

    theirs, another = receiver.wait_for(2)
    for secret in (OTHER, THIRD):
        assert webhooks.verify(theirs.body, theirs.headers, secret=secret) == EVENT
        assert Webhook(secret).verify(theirs.body, dict(theirs.headers))
    with pytest.raises(InvalidSignature):
        webhooks.verify(theirs.body, theirs.headers, secret=SECRET)
    assert webhooks.verify(another.body, another.headers, secret=SECRET) == EVENT


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_success(receiver: Receiver, status: int) -> None:
    receiver.reply(status)

    deliver(delivery(receiver.url), settings=settings(), now=NOW)

    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 409, 422, 429, 500, 502, 503])
def test_any_other_answer_is_a_failure_that_names_it(receiver: Receiver, status: int) -> None:
    receiver.reply(status)

    with pytest.raises(DeliveryFailed, match=f"answered {status}") as failed:
        deliver(delivery(receiver.url), settings=settings(), now=NOW)

    assert failed.value.retryable
    assert failed.value.retry_after_s is None


def test_410_means_never_again(receiver: Receiver) -> None:
    receiver.reply(410)

    with pytest.raises(DeliveryGone) as gone:
        deliver(delivery(receiver.url), settings=settings(), now=NOW)

    assert not gone.value.retryable


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(receiver: Receiver, status: int) -> None:
    """Its target was never checked."""
    receiver.reply(status, {"Location": f"http://127.0.0.1:{receiver.port}/inside"})

    with pytest.raises(DeliveryFailed, match=f"answered {status}"):
        deliver(delivery(receiver.url), settings=settings(), now=NOW)

    assert [request.path for request in receiver.requests] == ["/hook"]


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "120", 120),
        (503, "120", 120),
        (429, "0", 0),
        (429, "999999", 3600),
        (429, "9" * 400, 3600),
        (503, "Fri, 15 Jan 2027 08:01:00 GMT", 60),
        (503, "Fri, 15 Jan 2027 08:01:00 -0000", 60),
        (503, "Fri, 15 Jan 2027 07:00:00 GMT", 0),
        (503, "Fri, 15 Jan 2055 08:00:00 GMT", 3600),
        (429, "soon", None),
        (429, "-5", None),
        (429, "1.5", None),
        (429, "", None),
        (503, "Fri, 99 Jan 2027 08:01:00 GMT", None),
        (500, "120", None),
        (302, "120", None),
    ],
)
def test_retry_after_is_honoured_up_to_an_hour(
    receiver: Receiver, status: int, value: str, seconds: float | None
) -> None:
    """In seconds or as a date; NOW is 2027-01-15 08:00:00."""
    receiver.reply(status, {"Retry-After": value})

    with pytest.raises(DeliveryFailed) as failed:
        deliver(delivery(receiver.url), settings=settings(), now=NOW)

    assert failed.value.retry_after_s == seconds


def test_a_slow_receiver_is_given_up_in_time(receiver: Receiver) -> None:
    receiver.reply(200, delay_s=30)
    start = time.monotonic()

    with pytest.raises(DeliveryFailed, match="did not answer"):
        deliver(delivery(receiver.url), settings=settings(timeout_s=0.3), now=NOW)

    assert 0.3 <= time.monotonic() - start < 2


def test_a_receiver_that_dribbles_its_answer_is_given_up_in_time() -> None:
    """Each byte comes well within the timeout, and the answer never ends."""

    def dribble(connection: socket.socket, over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while not over.wait(0.02):
            connection.sendall(b"x")

    start = time.monotonic()
    with raw_receiver(dribble) as url, pytest.raises(DeliveryFailed, match="did not answer"):
        deliver(delivery(url), settings=settings(timeout_s=0.5), now=NOW)

    assert 0.5 <= time.monotonic() - start < 3


def test_a_receiver_that_does_not_read_is_given_up_in_time() -> None:
    """More than the sockets' buffers hold."""
    start = time.monotonic()
    with raw_receiver(lambda _, over: over.wait() and None) as url, pytest.raises(DeliveryFailed):
        deliver(delivery(url, body="x" * 20_000_000), settings=settings(timeout_s=0.5), now=NOW)

    assert 0.5 <= time.monotonic() - start < 3


def test_an_endless_body_neither_costs_the_success_nor_is_read_to_its_end() -> None:
    """The status has decided by then."""
    sent = 0

    def flood(connection: socket.socket, over: threading.Event) -> None:
        nonlocal sent
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.is_set():
            sent += connection.send(b"x" * 65_536)

    start = time.monotonic()
    with raw_receiver(flood) as url:
        deliver(delivery(url), settings=settings(timeout_s=30), now=NOW)

    assert time.monotonic() - start < 5
    assert sent < 50_000_000


def test_a_body_that_never_ends_costs_no_success_and_at_most_the_timeout() -> None:
    def stall(connection: socket.socket, over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        over.wait()

    start = time.monotonic()
    with raw_receiver(stall) as url:
        deliver(delivery(url), settings=settings(timeout_s=0.3), now=NOW)

    assert time.monotonic() - start < 2


def test_endless_headers_are_not_kept_in_memory() -> None:
    def flood(connection: socket.socket, over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while not over.is_set():
            connection.send(b"x" * 65_536)

    with raw_receiver(flood) as url, pytest.raises(DeliveryFailed, match="RemoteProtocolError"):
        deliver(delivery(url), settings=settings(timeout_s=30), now=NOW)


@pytest.mark.parametrize("answer", [b"", b"220 smtp ready\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x01\x00\x02\x02"])
def test_what_is_no_http_answer_is_a_failure(answer: bytes) -> None:
    def talk(connection: socket.socket, over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(answer)

    with raw_receiver(talk) as url, pytest.raises(DeliveryFailed, match="did not answer"):
        deliver(delivery(url), settings=settings(), now=NOW)


def test_nobody_there_is_a_failure_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    start = time.monotonic()

    with pytest.raises(DeliveryFailed, match="did not answer"):
        deliver(delivery(f"http://127.0.0.1:{port}/"), settings=settings(), now=NOW)

    assert time.monotonic() - start < 2


def test_a_private_receiver_that_is_not_allowed_hears_nothing(receiver: Receiver) -> None:
    with pytest.raises(AddressRefused):
        deliver(delivery(receiver.url), settings=settings(allow=()), now=NOW)

    assert receiver.requests == []


def test_a_proxy_in_the_environment_is_not_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would resolve the name once more, behind our back."""
    proxy = Receiver()
    try:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        deliver(delivery(receiver.url), settings=settings(), now=NOW)
    finally:
        proxy.close()

    assert (len(receiver.requests), proxy.requests) == (1, [])


def _answers(monkeypatch: pytest.MonkeyPatch, name: str, *answers: list[str]) -> list[list[str]]:
    """Let *name* resolve to each of *answers* in turn, then to the last; gives a list that grows with each answer."""
    real, given = socket.getaddrinfo, list[list[str]]()

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != name:
            return real(host, port, *args, **kwargs)
        given.append(answers[min(len(given), len(answers) - 1)])
        return [each for address in given[-1] for each in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return given


def test_a_name_that_changes_its_address_after_the_check_changes_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the connection goes to the address that was checked, and the name is not asked for again."""
    given = _answers(monkeypatch, "rebind.test", ["127.0.0.1"], ["169.254.169.254"])

    deliver(delivery(f"http://rebind.test:{receiver.port}/hook"), settings=settings(), now=NOW)

    assert receiver.wait_for(1)[0].headers["host"] == f"rebind.test:{receiver.port}"
    assert given == [["127.0.0.1"]]


def test_each_try_checks_the_address_again(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, "rebind.test", ["127.0.0.1"], ["169.254.169.254"])
    sent = delivery(f"http://rebind.test:{receiver.port}/hook")

    deliver(sent, settings=settings(), now=NOW)
    with pytest.raises(AddressRefused, match=r"169\.254\.169\.254"):
        deliver(sent, settings=settings(), now=NOW)

    assert len(receiver.requests) == 1


def test_a_name_with_a_dead_address_first_is_reached_at_the_next(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`localhost` is ::1 first on many machines, and many receivers listen on 127.0.0.1 only."""
    _answers(monkeypatch, "two.test", ["127.0.0.2", "127.0.0.1"])

    deliver(delivery(f"http://two.test:{receiver.port}/hook"), settings=settings(), now=NOW)

    assert len(receiver.requests) == 1


@pytest.fixture
def tls_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A receiver behind TLS whose certificate is for `hook.test`; its authority is the one that workers trust."""
    certificate = _certificate("hook.test", folder=tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    http_post._tls.cache_clear()  # it was made for other tests' environment

    def talk(connection: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            read_request(secured)
            secured.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with raw_receiver(talk) as url:
        yield int(url.rstrip("/").rpartition(":")[2])
    http_post._tls.cache_clear()


def _certificate(name: str, *, folder: Path) -> Path:
    """A self-signed certificate and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "tls.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_tls_checks_the_certificate_for_the_name_and_not_for_the_address(
    tls_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(monkeypatch, "hook.test", ["127.0.0.1"])

    deliver(delivery(f"https://hook.test:{tls_port}/"), settings=settings(), now=NOW)


def test_a_certificate_for_another_name_is_a_failure(tls_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _answers(monkeypatch, "other.test", ["127.0.0.1"])

    with pytest.raises(DeliveryFailed, match=r"(?i)certificate"):
        deliver(delivery(f"https://other.test:{tls_port}/"), settings=settings(), now=NOW)


def test_a_tls_handshake_that_stalls_is_given_up_in_time() -> None:
    start = time.monotonic()
    with raw_receiver(lambda _, over: over.wait() and None) as url, pytest.raises(DeliveryFailed):
        deliver(delivery(url.replace("http:", "https:")), settings=settings(timeout_s=0.5), now=NOW)

    assert 0.5 <= time.monotonic() - start < 3
