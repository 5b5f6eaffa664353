"""Redis as others run it: over TLS, with a user who may little, behind Sentinel. Real servers, the real worker."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import kombu.pools
import pytest
import redis
from celery import Celery
from redis.sentinel import MasterNotFoundError, Sentinel
from tests.support.fleet.processes import running_worker, start_worker
from tests.support.needs import missing
from tests.support.servers.webhook_receiver import Receiver
from tests.support.waiting import wait_until

from imagefleet import AsyncClient, Client, JobStatus, QueueUnavailable
from imagefleet.client.settings import ClientSettings
from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.store.keys import Keys
from imagefleet_worker.local.redis_server import EmbeddedRedis
from imagefleet_worker.queue.redis_client import connect
from imagefleet_worker.settings import RedisSettings
from imagefleet_worker.supervision.child_process import ChildProcess, free_port

pytestmark = pytest.mark.timeout(60)
MASTER = "fleet"
#: A sender of webhooks is a whole worker without a model; it claims with two seconds of lease.
SENDER = ("-Q", WEBHOOK_QUEUE, "-c", "2", "--without-mingle", "--without-gossip")
WITH_OWN_TASKS = ("-Q", f"{WEBHOOK_QUEUE},own", "-c", "2", "-I", "tests.support.celery_tasks")
QUICK = {
    "IMAGEFLEET_LEASE_DURATION_S": "2",
    "IMAGEFLEET_REDIS_SOCKET_TIMEOUT_S": "2",
    "IMAGEFLEET_WEBHOOK_ALLOW_HOSTS": "127.0.0.1",
}


class Server(EmbeddedRedis):
    """Debian's redis-server, which has TLS and Sentinel, with more options; its plain port is the test's own way in."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        if not shutil.which("redis-server"):
            missing("no redis-server, which the tests of TLS, users and Sentinel need")
        super().__init__(folder, port=port, append_only=False, binary="redis-server")
        self._options = options

    def _command(self) -> list[str]:
        return [*super()._command(), *self._options]


@contextmanager
def running(folder: Path, *options: str) -> Generator[Server]:
    """A server that is started, and ended with the context."""
    server = Server(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Of each test, because the deliveries to it are what is counted."""
    receiver = Receiver()
    yield receiver
    receiver.close()


def openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if not program:
        missing("no openssl, which makes the certificates of the tests of TLS")
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)


def certify(folder: Path, *, authority: str) -> None:
    """Make *authority*.pem, and server.pem with its key, signed by it for 127.0.0.1 alone."""
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl(
        folder, "req", "-x509", *new_key, "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", "/CN=test"
    )
    signed_by = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-addext", "subjectAltName=IP:127.0.0.1")
    openssl(
        folder,
        *("req", "-x509", *new_key, "-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=redis"),
        *signed_by,
    )


def environment(url: str, **more: str) -> dict[str, str]:
    """What a worker and a client are told of their Redis."""
    return {**QUICK, "IMAGEFLEET_REDIS_URL": url, **{f"IMAGEFLEET_REDIS_{name}": value for name, value in more.items()}}


def client_of(env: Mapping[str, str]) -> Client:
    return Client.from_settings(ClientSettings.from_env(env))


def submit_and_cancel(client: Client, receiver: Receiver) -> str:
    """Put a job in its queue and end it there, whose webhook is then the worker's message."""
    job_id = client.submit("a fox", webhook={"url": receiver.url})
    assert client.queue_length() >= 1
    assert client.cancel(job_id) is JobStatus.CANCELED
    return job_id


def is_ended(raw: "redis.Redis", keys: Keys) -> bool:
    """No delivery waits, and none is held."""
    return not (raw.exists(*keys.lists(WEBHOOK_QUEUE)) or raw.zcard(keys.leases) or raw.hlen(keys.claims))


def assert_serves(env: Mapping[str, str], folder: Path, receiver: Receiver, *, raw: "redis.Redis") -> ChildProcess:
    """A client's message is taken by a worker and ended, both with *env*; gives the worker, which has ended."""
    keys = ClientSettings.from_env(env).keys
    with running_worker(env, folder, options=SENDER) as worker, client_of(env) as client:
        job_id = submit_and_cancel(client, receiver)
        receiver.wait_for(1, 10)
        wait_until(lambda: is_ended(raw, keys), 5)
        assert asyncio.run(status_of(env, job_id)) is client.status(job_id) is JobStatus.CANCELED
    assert [each.event.data.id for each in receiver.requests] == [job_id]
    assert worker.exit_code == 0, worker.log_tail(30)
    return worker


async def status_of(env: Mapping[str, str], job_id: str) -> JobStatus:
    async with AsyncClient.from_settings(ClientSettings.from_env(env)) as client:
        return await client.status(job_id)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Server, int]]:
    """A server, and its port with TLS."""
    certify(tmp_path, authority="other")
    certify(tmp_path, authority="ours")
    port = free_port()
    files = ("--tls-cert-file", f"{tmp_path}/server.pem", "--tls-key-file", f"{tmp_path}/server.key")
    clients = ("--tls-ca-cert-file", f"{tmp_path}/ours.pem", "--tls-auth-clients", "no")
    with running(tmp_path / "redis", "--tls-port", str(port), *files, *clients) as server:
        yield server, port


@pytest.mark.parametrize(
    "options", ["?ssl_cert_reqs=required&ssl_ca_certs={}/ours.pem", "?ssl_ca_certs={}/ours.pem", ""]
)
def test_a_worker_and_clients_work_over_tls(
    tls: tuple[Server, int], tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """With an authority that the URL names, and with one that the machine trusts, as that of a bought Redis."""
    server, port = tls
    env = environment(f"rediss://127.0.0.1:{port}/0{options.format(tmp_path)}")
    if not options:
        monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/ours.pem")

    with redis.Redis.from_url(server.url, decode_responses=True) as raw:
        assert_serves(env, tmp_path, receiver, raw=raw)


@pytest.mark.parametrize("options", ["?ssl_cert_reqs=required&ssl_ca_certs={}/other.pem", ""])
def test_a_server_that_nobody_vouches_for_is_refused(tls: tuple[Server, int], tmp_path: Path, options: str) -> None:
    """By the client and by the worker, in words that name the certificate; also where the URL says nothing of it."""
    _, port = tls
    env = environment(f"rediss://127.0.0.1:{port}/0{options.format(tmp_path)}")

    with client_of(env) as client, pytest.raises(QueueUnavailable, match="certificate verify failed"):
        client.submit("a fox")

    worker = start_worker(env, tmp_path, options=SENDER)
    try:
        wait_until(lambda: "certificate verify failed" in worker.output().lower() or not worker.is_running, 14)
        assert "certificate verify failed" in worker.output().lower(), worker.log_tail(20)
        assert " ready." not in worker.output()
    finally:
        worker.kill()


@pytest.mark.parametrize("may_track", [True, False])
def test_a_user_who_may_only_use_our_prefix_is_enough(tmp_path: Path, receiver: Receiver, may_track: bool) -> None:  # noqa: FBT001  # pytest's
    """With CLIENT TRACKING for the notifier, and without if the user may not use that; no other key is written."""
    rights = ["~fx:*", "&*", "+@all", "-@admin", "-@dangerous", "+info", *([] if may_track else ["-client|tracking"])]
    with running(tmp_path / "redis") as server, redis.Redis.from_url(server.url, decode_responses=True) as raw:
        raw.execute_command("ACL", "SETUSER", "fx", "on", ">word", *rights)
        env = environment(f"redis://fx:word@127.0.0.1:{server.port}/0", KEY_PREFIX="fx:")

        worker = assert_serves(env, tmp_path, receiver, raw=raw)

        assert ("sends no notifications" in worker.output()) is not may_track
        assert all(key.startswith("fx:") for key in raw.scan_iter()), list(raw.scan_iter())
        assert [entry for entry in raw.acl_log() if "tracking" not in str(entry["object"])] == []


@contextmanager
def sentinel(folder: Path, master: Server) -> Generator[int]:
    """One sentinel, which alone decides that *master* is gone; gives its port."""
    folder.mkdir()
    port = free_port()
    lines = [
        f"port {port}\nbind 127.0.0.1\ndir {folder}",
        f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1",
        f"sentinel down-after-milliseconds {MASTER} 700",
        f"sentinel failover-timeout {MASTER} 2000",
    ]
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    child = ChildProcess("sentinel", ["redis-server", f"{folder}/sentinel.conf", "--sentinel"], log=folder / "log")
    try:
        with redis.Redis(port=port, socket_timeout=1, decode_responses=True) as asked:
            wait_until(lambda: knows_a_replica(asked), 20)
        yield port
    finally:
        child.kill()


def knows_a_replica(asked: "redis.Redis") -> bool:
    """The sentinel has found the replica, without which it could fail over to nothing."""
    try:
        found = asked.execute_command("SENTINEL", "REPLICAS", MASTER)
    except redis.RedisError:  # it is starting
        return False
    return bool(found) and "s_down" not in str(found)


def has_followed(port: int, replica: Server) -> bool:
    """The sentinel at *port* sends clients to the replica."""
    try:
        return Sentinel([("127.0.0.1", port)]).discover_master(MASTER)[1] == replica.port
    except MasterNotFoundError:  # it knows that the old one is down, and has not chosen yet
        return False


def ask_through(url: str) -> list[str]:
    """Have the worker run a task of its own and answer a broadcast, through sentinels: what a new Celery app gets."""
    options = {"master_name": MASTER}
    kombu.pools.reset()  # connections of an earlier app are not ours to mend
    with Celery("foreign", broker=url, backend=url, set_as_current=False) as app:
        app.conf.update(broker_transport_options=options, result_backend_transport_options=options)
        total = app.send_task("own.add", [20, 22], queue="own").get(timeout=20)
        (reply,) = app.control.ping(timeout=10, limit=1)
        return [str(total), *(each["ok"] for each in reply.values())]


@pytest.mark.parametrize("way", ["dies", "is demoted"])
def test_a_master_that_goes_is_followed_to_its_replica(tmp_path: Path, receiver: Receiver, way: str) -> None:
    """A message is taken through sentinels, the master goes, and the same worker and client go on.

    So do results in Celery's backend, and remote control, whose broadcasts go another way than messages.
    """
    with ExitStack() as stack:
        master = stack.enter_context(running(tmp_path / "master"))
        replica = stack.enter_context(running(tmp_path / "replica", "--replicaof", f"127.0.0.1 {master.port}"))
        port = stack.enter_context(sentinel(tmp_path / "sentinel", master))
        env = environment(f"sentinel://127.0.0.1:{port}/0", SENTINEL_MASTER=MASTER)
        worker = stack.enter_context(running_worker(env, tmp_path, options=WITH_OWN_TASKS))
        client = stack.enter_context(client_of(env))
        raw = stack.enter_context(redis.Redis.from_url(replica.url, decode_responses=True))
        first = submit_and_cancel(client, receiver)
        receiver.wait_for(1, 10)
        wait_until(lambda: is_ended(raw, Keys()), 5)
        assert asyncio.run(status_of(env, first)) is JobStatus.CANCELED
        assert ask_through(env["IMAGEFLEET_REDIS_URL"]) == ["42", "pong"]

        if way == "dies":
            master.kill()
        else:  # it stays up; for some seconds nobody has told it that it is a replica now
            with redis.Redis(port=port) as asked, redis.Redis.from_url(master.url, decode_responses=True) as old:
                asked.execute_command("SENTINEL", "FAILOVER", MASTER)
                wait_until(lambda: old.role()[0] == "slave", 30)
        wait_until(lambda: has_followed(port, replica), 15)
        second = submit_and_cancel(client, receiver)

        receiver.wait_for(2, 15)
        wait_until(lambda: is_ended(raw, Keys()), 5)
        assert ask_through(env["IMAGEFLEET_REDIS_URL"]) == ["42", "pong"]
        assert worker.is_running
        assert [each.event.data.id for each in receiver.requests] == [first, second]


def test_sentinels_that_hang_are_given_up() -> None:
    """The worker's own connection ends in an error within its timeouts, so that its leases' thread goes on."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"sentinel://127.0.0.1:{silent.getsockname()[1]}/0"
        with connect(RedisSettings(url=url, sentinel_master=MASTER, socket_timeout_s=0.2)) as client:
            begun = time.monotonic()
            with pytest.raises(redis.ConnectionError, match="No master found"):
                client.ping()
    assert time.monotonic() - begun < 10
