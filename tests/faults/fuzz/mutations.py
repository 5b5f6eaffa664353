"""Mutations: good messages with something wrong, or odd, in one to three places."""

import base64
import copy
import json
import random
from collections.abc import Callable
from typing import Any, Final

from celery.app.task import Context

#: Levels of lists in a list.
_LEVELS: Final = (20, 50, 220, 300)


def _nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


_TIMES: Final = (
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999",
    "9999-12-31T23:59:59-23:59",
    "2026-02-30T00:00:00Z",
    "2000-01-01T00:00:00",
    "2000-01-01",
    "soon",
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 1.5, float("nan"), float("inf")),
    *("", "x", "abc", "ä\u20ac", "\ud800", "\x00", "a" * 5000, "[]", "{}"),
    *([], {}, [None], [[]], {"a": {}}, ["x", ["y"]], {"__type__": "datetime", "__value__": "x"}, [1, 2, 3]),
    *_TIMES,
)
_NAMES: Final = (
    *(name for name in dir(Context) if not name.startswith("__")),
    *("compression", "x-redeliveries", "tenant", "traceparent", "lang", "x-death", "headers", "__class__", "self"),
)
_CHARSETS: Final = ("utf-8", "utf-16", "binary", "zlib", "idna", "klingon", "", None, 7)
_COMPRESSIONS: Final = ("gzip", "application/x-bz2", "lzma", "zstd", "brotli", "none", "")


class Mutator:
    """Makes mutations of messages, the same for the same *seed*."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def mutate(self, text: str) -> bytes:
        """The message *text* with one to three changes."""
        envelope = json.loads(text)
        for _ in range(self._chance.randint(1, 3)):
            change = self._chance.choice((self._replace, self._replace, self._name, self._encode, self._body))
            change(envelope)
        data = json.dumps(envelope).encode()
        return self._spoil(data) if self._chance.random() < 0.1 else data

    def _value(self) -> Any:
        if self._chance.random() < 0.1:
            return _nested(self._chance.choice(_LEVELS))
        return copy.deepcopy(self._chance.choice(_VALUES))

    def _replace(self, envelope: dict[str, Any]) -> None:
        """Replace or remove anything."""
        container: Any = envelope
        while True:
            keys = list(container) if isinstance(container, dict) else list(range(len(container)))
            if not keys:
                return
            key = self._chance.choice(keys)
            if isinstance(container[key], dict | list) and self._chance.random() < 0.8:
                container = container[key]
                continue
            if self._chance.random() < 0.15:
                del container[key]
            else:
                container[key] = self._value()
            return

    def _name(self, envelope: dict[str, Any]) -> None:
        """Add a header or a property that Celery may know."""
        part = envelope.get(self._chance.choice(("headers", "headers", "properties")))
        if isinstance(part, dict):
            part[self._chance.choice(_NAMES)] = self._value()

    def _encode(self, envelope: dict[str, Any]) -> None:
        """Say something else of the encoding than is so."""
        headers, properties = envelope.get("headers"), envelope.get("properties")
        kind = self._chance.randrange(4)
        if kind == 0:
            envelope["content-encoding"] = self._chance.choice(_CHARSETS)
        elif kind == 1 and isinstance(headers, dict):
            headers["compression"] = self._chance.choice(_COMPRESSIONS)
        elif kind == 2 and isinstance(properties, dict):
            properties["body_encoding"] = self._chance.choice(("base64", "utf-8", "rot13", ""))
        elif isinstance(envelope.get("body"), str) and isinstance(properties, dict):
            envelope["body"] = base64.b64encode(envelope["body"].encode("utf-8", "replace")).decode()
            properties["body_encoding"] = "base64"

    def _body(self, envelope: dict[str, Any]) -> None:
        """Change something in the body, if it still is JSON."""
        try:
            parts = {"": json.loads(envelope["body"])}
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        self._replace(parts)
        envelope["body"] = json.dumps(parts.get(""))

    def _spoil(self, data: bytes) -> bytes:
        """Cut it, or change bytes."""
        at = self._chance.randrange(len(data))
        kinds: tuple[Callable[[], bytes], ...] = (
            lambda: data[:at],
            lambda: data[at:],
            lambda: data[:at] + bytes([self._chance.randrange(256)]) + data[at + 1 :],
            lambda: data[:at] + self._chance.randbytes(4) + data[at:],
        )
        return self._chance.choice(kinds)()
