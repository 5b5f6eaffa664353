"""The URL of a Redis server: what is wrong with one, how sentinels share one, how to show one safely."""

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

_SENTINEL: Final = "sentinel://"
_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = ("redis", "rediss", "unix", "sentinel")
_HOST_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:\s]*)(:\d{1,5})?")
_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTED: Final = {"#": "%23", "/": "%2F", "?": "%3F", "@": "%40", "%": "%25"}


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The sentinels of a URL, and how to connect to the master that they name."""

    hosts: list[tuple[str, int]]
    #: Username, password and number of the database, as redis-py calls its options.
    options: dict[str, Any]


def check_url(url: str) -> None:
    """Find what redis-py and Celery would misread, above all a password with characters that end it.

    Raises:
        ValueError: with a sentence that holds no piece of *url*.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(
            "must begin with redis://, rediss:// (TLS), unix:// or sentinel://, such as redis://host:6379/0"
        )
    if "#" in rest:
        raise ValueError(_unquoted("#"))
    parts = url.split(";") if scheme == "sentinel" else [url]
    for part in filter(None, parts):
        if not part.startswith(f"{scheme}://"):
            raise ValueError(
                "each sentinel must begin with sentinel://, such as sentinel://a:26379;sentinel://b:26379/0"
            )
        _check_part(part)


def _check_part(url: str) -> None:
    scheme, _, rest = url.partition("://")
    authority, path, query = re.fullmatch(r"([^/?]*)([^?]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches all
    if "@" in query:
        raise ValueError(_unquoted("?"))
    if "@" in path and scheme != "unix":
        raise ValueError(_unquoted("/"))
    credentials, _, server = authority.rpartition("@")
    if "@" in credentials:
        raise ValueError(_unquoted("@"))
    if _BARE_PERCENT.search(credentials):
        raise ValueError(_unquoted("%"))
    if scheme == "unix":
        return
    if not _HOST_AND_PORT.fullmatch(server):
        raise ValueError(
            "what follows the host and a colon must be the number of the port, such as redis://host:6379/0"
        )
    if not re.fullmatch(r"/?\d*", path):
        raise ValueError("what follows the server must be the number of a database, such as redis://host:6379/0")


def _unquoted(character: str) -> str:
    return (
        f"has {character} in its user name, its password or a path, where a URL needs {_QUOTED[character]}: write "
        f"{', '.join(f'{one} as {other}' for one, other in _QUOTED.items())}"
    )


def is_sentinel(url: str) -> bool:
    """Whether *url* leads to sentinels, which know the server, and not to the server itself."""
    return url.startswith(_SENTINEL)


def parse_sentinels(url: str) -> Sentinels:
    """Read a URL as Celery writes it: `sentinel://a:26379;sentinel://:password@b:26379/0`.

    Credentials and database may be in any of its parts.

    Raises:
        ValueError: if a port or the database is not a number.
    """
    parts = [urlsplit(part) for part in url.split(";") if part]
    hosts = [(part.hostname or "127.0.0.1", part.port or _SENTINEL_PORT) for part in parts]
    database = next((name for part in parts if (name := part.path.strip("/"))), "0")
    username = next((part.username for part in parts if part.username), None)
    password = next((part.password for part in parts if part.password), None)
    options = {
        "username": unquote(username) if username else None,
        "password": unquote(password) if password else None,
        "db": int(database),
    }
    return Sentinels(hosts, options)


def without_credentials(url: str) -> str:
    """Host, port and database of *url*, such as `127.0.0.1:6379/0`; for error messages."""
    return "; ".join(part.rpartition("@")[2].split("?")[0] for part in url.partition("://")[2].split(";"))


def mask_passwords(text: str) -> str:
    """*text* with `***` in place of the password in each URL that it contains."""
    return re.sub(r"(://[^:/@;]*:)[^/;]*@", r"\1***@", text)
