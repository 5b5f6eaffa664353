"""A webhook that senders would refuse is refused when its job is submitted."""

from datetime import UTC, datetime

import pytest
import redis

from imagefleet import Client, InvalidJob, Webhook, Worker, WorkerState
from imagefleet.client.receivers import private_host
from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.store import worker_registry
from imagefleet.store.keys import Keys


def register(url: str, *hosts: str) -> None:
    """Register a sender that may reach these private *hosts*."""
    worker = Worker(
        id="hooks",
        name="hooks@h",
        host="h",
        pid=1,
        queues=(WEBHOOK_QUEUE,),
        state=WorkerState.READY,
        webhook_hosts=hosts,
        started_at=datetime.now(UTC),
    )
    with redis.Redis.from_url(url) as client:
        client.execute_command(*worker_registry.register(Keys(), worker, ttl_s=60))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost:8000/", "localhost"),
        ("https://app.localhost/", "app.localhost"),
        ("http://127.0.0.1/", "127.0.0.1"),
        ("http://10.1.2.3/hook", "10.1.2.3"),
        ("http://[::1]/", "::1"),
        ("http://169.254.169.254/latest", "169.254.169.254"),
        ("https://example.com/", ""),
        ("https://8.8.8.8/", ""),
        ("http://[broken/", ""),
    ],
)
def test_hosts_that_are_surely_private_are_known_by_their_spelling(url: str, host: str) -> None:
    assert private_host(url) == host


def test_a_receiver_that_no_sender_may_reach_is_refused(redis_url: str) -> None:
    register(redis_url, "10.0.0.0/8")
    with Client(redis_url) as client:
        for url in ("http://localhost:8000/", "http://192.168.1.2/"):
            with pytest.raises(InvalidJob, match=r"webhook\.url: .* not public.*IMAGEFLEET_WEBHOOK_ALLOW_HOSTS"):
                client.submit("a fox", webhook=Webhook(url=url))
        assert client.queue_length("default") == 0
        client.submit("a fox", webhook=Webhook(url="http://10.1.2.3/"))
        client.submit("a fox", webhook=Webhook(url="https://example.com/"))


def test_a_sender_that_may_reach_this_machine_takes_its_name(redis_url: str) -> None:
    register(redis_url, "127.0.0.1")
    with Client(redis_url) as client:
        client.submit("a fox", webhook=Webhook(url="http://localhost:8000/"))
        client.submit("a fox", webhook=Webhook(url="http://127.0.0.1:8000/"))


def test_without_a_sender_nobody_knows(redis_url: str) -> None:
    with Client(redis_url) as client:
        client.submit("a fox", webhook=Webhook(url="http://localhost:8000/"))
