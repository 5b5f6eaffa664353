"""Receivers: whether the senders of a fleet would refuse the URL of a webhook, as far as the URL alone says."""

import ipaddress
from collections.abc import Generator, Iterable
from typing import Any
from urllib.parse import urlsplit

from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.queues import WEBHOOK_QUEUE
from imagefleet.errors import InvalidJob
from imagefleet.store import worker_registry
from imagefleet.store.keys import Keys
from imagefleet.store.scripts import Command
from imagefleet.store.worker_registry import Worker


def check_receivers(keys: Keys, jobs: Iterable[GenerationJob]) -> Generator[list[Command], list[Any], None]:
    """Find out whether webhooks of *jobs* go to private hosts that no running sender may reach.

    Only then Redis is asked what senders may reach. Without a sender nobody knows, and the job is queued.

    Raises:
        InvalidJob: naming the first such host.
    """
    hosts = [host for job in jobs if job.webhook and (host := private_host(job.webhook.url))]
    if not hosts:
        return
    [registered] = yield [worker_registry.read(keys)]
    _, seen = worker_registry.parse(registered)
    senders = [worker for worker in seen if WEBHOOK_QUEUE in worker.queues and worker.webhook_hosts is not None]
    for host in dict.fromkeys(hosts):
        if senders and not any(_may_reach(sender, host) for sender in senders):
            raise InvalidJob(
                f"webhook.url: {host} is not public, and no sender of webhooks may reach it; "
                "use a public host, or let senders allow it with IMAGEFLEET_WEBHOOK_ALLOW_HOSTS"
            )


def private_host(url: str) -> str:
    """The host of *url* if it is surely private: this machine, or an address that is not global; else empty."""
    try:
        host = (urlsplit(url).hostname or "").lower().rstrip(".")
    except ValueError:
        return ""
    if host == "localhost" or host.endswith(".localhost"):
        return host
    address = _address(host)
    return host if address is not None and not address.is_global else ""


def _may_reach(sender: Worker, host: str) -> bool:
    allowed = sender.webhook_hosts or ()
    addresses = [_address(host)] if _address(host) else [_address("127.0.0.1"), _address("::1")]
    return host in allowed or any(_is_in(address, each) for each in allowed for address in addresses)


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, network: str) -> bool:
    try:
        return address is not None and address in ipaddress.ip_network(network, strict=False)
    except ValueError:  # a name
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
