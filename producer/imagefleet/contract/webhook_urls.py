"""Webhook URLs: what every sender refuses by the URL alone, so that clients refuse it, too."""

from typing import Final
from urllib.parse import SplitResult, urlsplit

#: The usual ports, by scheme.
WEB_PORTS: Final = {"http": 80, "https": 443}
_LEAST_FREE_PORT: Final = 1024


def split_url(url: str) -> tuple[SplitResult, str, int]:
    """The parts of *url*, its host in small letters, and its port.

    Raises:
        ValueError: with a sentence that says why no webhook is sent there.
    """
    if not url.isascii() or any(each <= " " or each in "\\\x7f" for each in url):
        raise ValueError("the URL has characters that a URL cannot have; write other letters as %XX or xn--")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the URL cannot be read: {error}; correct it") from error
    if parts.scheme not in WEB_PORTS:
        raise ValueError(f"only http and https are allowed, not {parts.scheme or 'nothing'}; correct the URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL must not hold a user or a password; leave them out")
    host = (parts.hostname or "").lower().rstrip(".")
    if not host or "%" in host:
        raise ValueError("the URL names no host; correct it")
    port = WEB_PORTS[parts.scheme] if port is None else port
    if port not in WEB_PORTS.values() and port < _LEAST_FREE_PORT:
        raise ValueError(f"port {port} is not allowed: 80, 443, or {_LEAST_FREE_PORT} and above; use one of these")
    return parts, host, port
