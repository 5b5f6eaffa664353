"""Envelopes: is what lies in the list a message that Celery can run? Anybody can push to a list.

Celery dies of some messages that are no tasks, falls silent at others and drops the rest without a word; so what cannot
be run is found here, before Celery sees it.
"""

import base64
import binascii
import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from imagefleet.queues import REDELIVERIES_HEADER

_BODY_PARTS: Final = 3


class Malformed(Exception):  # named for what happened
    """The message cannot be run; says why, and whose it is where that can be read."""

    def __init__(self, reason: str, *, message_id: str | None = None, task: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message_id = message_id
        self.task = task


def open_envelope(text: str, *, token: str, queue: str, tasks: Collection[str]) -> dict[str, Any]:
    """The message as kombu expects it, its delivery tag set to *token*.

    Raises:
        Malformed: where it is no message of Celery's protocol 2 for one of *tasks*.
    """
    try:
        envelope = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from error
    if "\\ud" in text.lower() and not _is_unicode(envelope):
        raise Malformed("half a character (a lone surrogate), which no text may have")
    if not isinstance(envelope, dict):
        raise Malformed("not a JSON object")
    headers = envelope.get("headers")
    if not isinstance(headers, dict):
        raise Malformed("no headers")
    message_id, task = headers.get("id"), headers.get("task")
    if not isinstance(message_id, str) or not message_id:
        raise Malformed("no id in the headers", task=task if isinstance(task, str) else None)
    if not isinstance(task, str):
        raise Malformed("no task in the headers", message_id=message_id)
    problem = _problem(envelope, headers, task=task, tasks=tasks)
    if problem:
        raise Malformed(problem, message_id=message_id, task=task)
    given = envelope.get("properties")
    properties: dict[str, Any] = given if isinstance(given, dict) else {}
    own = {"delivery_tag": token, "delivery_info": {"exchange": "", "routing_key": queue}}
    defaults = {"content-type": "application/json", "content-encoding": "utf-8"}
    return {**defaults, **envelope, "properties": {**properties, **own}}


def count_redelivery(text: str) -> str:
    """The message with one redelivery more; unchanged where it is no JSON object, which is found at its next claim."""
    try:
        envelope = json.loads(text)
        headers = envelope["headers"]
        before = headers.get(REDELIVERIES_HEADER)
        headers[REDELIVERIES_HEADER] = (before if isinstance(before, int) else 0) + 1
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return text
    return json.dumps(envelope)


def _problem(envelope: dict[str, Any], headers: dict[str, Any], *, task: str, tasks: Collection[str]) -> str | None:
    if task not in tasks:
        return f"no worker here knows the task {task!r}"
    if envelope.get("content-type", "application/json") != "application/json":
        return f"content type {envelope.get('content-type')!r}; only application/json is read"
    if headers.get("compression"):
        return "the body is compressed; send it as it is"
    for moment in ("eta", "expires"):
        if not _is_moment(headers.get(moment)):
            return f"{moment} is no ISO 8601 time"
    retries = headers.get("retries")
    if retries is not None and not isinstance(retries, int):
        return "retries is no whole number"
    return _body_problem(envelope)


def _body_problem(envelope: dict[str, Any]) -> str | None:
    body = envelope.get("body")
    properties = envelope.get("properties")
    encoding = properties.get("body_encoding") if isinstance(properties, dict) else None
    if not isinstance(body, str):
        return "the body is no text"
    try:
        text = base64.b64decode(body, validate=True).decode() if encoding == "base64" else body
        parts = json.loads(text)
    except (ValueError, binascii.Error, RecursionError) as error:
        return f"the body is not JSON: {error}"
    if not isinstance(parts, list) or len(parts) != _BODY_PARTS:
        return "the body is not [args, kwargs, embed]"
    args, kwargs, embed = parts
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(embed, dict | None):
        return "the body is not [list, object, object]"
    return _embed_problem(embed or {})


def _embed_problem(embed: dict[str, Any]) -> str | None:
    for name in ("callbacks", "errbacks", "chain"):
        if not isinstance(embed.get(name), list | None):
            return f"{name} is no list"
    return None


def _is_unicode(envelope: object) -> bool:
    try:
        json.dumps(envelope, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_moment(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, int | float) and not isinstance(value, bool):
        return False
    try:
        datetime.fromisoformat(str(value))
    except ValueError:
        return False
    return True
