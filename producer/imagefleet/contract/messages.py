"""Encodes a Celery task (protocol 2) as a message in a Redis list, without Celery.

The fields are those of Celery's message protocol, version 2, inside kombu's envelope for Redis
(https://docs.celeryq.dev/en/stable/internals/protocol.html).
"""

import base64
import json
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from imagefleet import tracing
from imagefleet.contract.queues import FINGERPRINT_HEADER, TENANT_HEADER
from imagefleet.errors import InvalidJob

_ORIGIN = f"{os.getpid()}@{socket.gethostname()}"

#: What Celery reads of a signature, besides its task.
_NO_PARTS: Final = {"args": [], "kwargs": {}, "options": {}}
#: A Celery signature is a mapping; nothing else of Celery is needed here.
Signature = Mapping[str, Any]
Links = Signature | Sequence[Signature] | None


def encode(
    task: str,
    kwargs: Mapping[str, Any],
    *,
    message_id: str,
    queue: str,
    link: Links = None,
    link_error: Links = None,
    tenant: str | None = None,
    fingerprint: str = "",
) -> str:
    """The message that makes a Celery worker run *task* with *kwargs*.

    Raises:
        ValueError: for NaN and infinity, which JSON does not have.
        TypeError: for values that are not JSON.
        InvalidJob: for links that are no signatures.
    """
    embed = {"callbacks": _signatures(link), "errbacks": _signatures(link_error), "chain": None, "chord": None}
    properties = {
        "correlation_id": message_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "delivery_tag": str(uuid.uuid4()),
        "priority": 0,
    }
    envelope = {
        "body": json.dumps([[], kwargs, embed], allow_nan=False),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": _headers(task, message_id, tenant=tenant, fingerprint=fingerprint),
        "properties": properties,
    }
    return json.dumps(envelope)


def _headers(task: str, message_id: str, *, tenant: str | None, fingerprint: str) -> dict[str, Any]:
    return {
        "lang": "py",
        "task": task,
        "id": message_id,
        "root_id": message_id,
        "parent_id": None,
        "group": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": "{...}",  # the real one would store every prompt a second time
        "origin": _ORIGIN,
        "ignore_result": True,  # the result is in the job's record; Celery's backend would keep a second one
        **({TENANT_HEADER: tenant} if tenant else {}),
        **({FINGERPRINT_HEADER: fingerprint} if fingerprint else {}),
        **tracing.carrier(),
    }


def read_kwargs(message: str) -> Mapping[str, Any]:
    """The keyword arguments in *message*, which any Celery app may have sent; empty if they cannot be read."""
    try:
        envelope = json.loads(message)
        body, properties = envelope["body"], envelope["properties"]
        text = base64.b64decode(body) if properties.get("body_encoding") == "base64" else body
        _, kwargs, _ = json.loads(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return kwargs if isinstance(kwargs, Mapping) else {}


def _signatures(links: Links) -> list[Signature] | None:
    if links is None:
        return None
    found = [links] if isinstance(links, Mapping) else list(links)
    unchecked: list[Any] = found
    if not all(isinstance(each, Mapping) and isinstance(each.get("task"), str) for each in unchecked):
        raise InvalidJob("link and link_error: must be Celery signatures, such as app.signature('my.task')")
    return [{**each, **{name: value for name, value in _NO_PARTS.items() if name not in each}} for each in found]
