"""The SSRF guard: to which addresses a webhook may go. A job names the URL, so it must not reach private servers.

The name is resolved once, every address must be public, and the connection is made to an address that was checked. So a
DNS answer that changes a moment later changes nothing.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult

from imagefleet.contract.webhook_urls import WEB_PORTS, split_url
from imagefleet.errors import reason_of
from imagefleet_worker.webhooks.errors import AddressRefused, DeliveryFailed

#: Networks that `ipaddress` calls global, or whose addresses carry another one inside.
_REFUSED: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT
        "168.63.129.16/32",  # Azure's own, answers only from inside
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        "64:ff9b::/96",  # NAT64: an IPv4 address inside
        "64:ff9b:1::/48",
        "100::/64",  # discard
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "fec0::/10",  # site-local, as it once was
    )
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """A checked destination."""

    scheme: str
    #: The name in the URL: for the Host header, and for the certificate.
    host: str
    port: int
    #: The checked addresses, the best first.
    addresses: tuple[str, ...]
    #: Path and query, as they stand in the URL.
    path: str

    @property
    def address(self) -> str:
        """The address to connect to first."""
        return self.addresses[0]

    @property
    def host_header(self) -> str:
        """The Host header of a request to the name."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == WEB_PORTS[self.scheme] else f"{host}:{self.port}"


def resolve(url: str, *, allow_hosts: Iterable[str] = ()) -> Target:
    """The destination of *url*; *allow_hosts* are names, addresses or networks that may be private.

    Every address of the name must be public or allowed.

    Raises:
        AddressRefused: If a webhook must not go there; another try would not help.
        DeliveryFailed: If the name has no address now.
    """
    parts, host, port = _split(url)
    allowed = {each.lower() for each in allow_hosts}
    addresses = _addresses(host, port)
    if host not in allowed:
        for address in addresses:
            if not (_is_public(address) or _is_in(address, allowed)):
                raise AddressRefused(
                    f"{host} leads to {address}, which is not public; allow it with IMAGEFLEET_WEBHOOK_ALLOW_HOSTS"
                )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, tuple(map(str, addresses)), path)


def endpoint_of(url: str) -> str:
    """Scheme, host and port of *url*, in one spelling; no address is looked up.

    Raises:
        AddressRefused: If a webhook cannot have that URL.
    """
    parts, host, port = _split(url)
    return f"{parts.scheme}://{host}:{port}"


def _split(url: str) -> tuple[SplitResult, str, int]:
    try:
        return split_url(url)
    except ValueError as error:
        raise AddressRefused(str(error)) from error


def _addresses(host: str, port: int) -> list[Address]:
    """All addresses of *host*. The system's resolver also reads `127.1`, `0177.0.0.1` and `2130706433`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise AddressRefused(f"{host} is no name: {reason_of(error)}; correct the URL") from error
    except OSError as error:
        raise DeliveryFailed(f"{host} has no address: {reason_of(error)}; correct the URL or DNS") from error
    if not found:
        raise DeliveryFailed(f"{host} has no address; correct the URL or DNS")
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


def _is_public(address: Address) -> bool:
    inner = getattr(address, "ipv4_mapped", None)
    if inner is not None:
        return _is_public(inner)
    is_refused = any(address.version == network.version and address in network for network in _REFUSED)
    return address.is_global and not address.is_multicast and not address.is_reserved and not is_refused


def _is_in(address: Address, allowed: Iterable[str]) -> bool:
    inner = getattr(address, "ipv4_mapped", None) or address
    for each in allowed:
        try:
            network = ipaddress.ip_network(each, strict=False)
        except ValueError:
            continue  # a name, compared elsewhere
        if inner.version == network.version and inner in network:
            return True
    return False
