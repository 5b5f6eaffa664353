"""The check of a message: can Celery run it? Anybody can push to a list.

Some messages that are no tasks end Celery's consumer, some block it, and it drops others without an error. So a message
that cannot be run is found here, before Celery sees it. What Celery sees is made of what was checked.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from imagefleet.contract.queues import REDELIVERIES_HEADER
from imagefleet_worker.queue import protocol_1
from imagefleet_worker.queue.json_values import has_half_characters
from imagefleet_worker.queue.message_body import Body, Loads, read_body
from imagefleet_worker.queue.message_headers import MessageHeaders, read_headers, read_properties

_JSON: Final = "application/json"


class MalformedMessage(Exception):  # named for what happened
    """The message cannot be run: *reason* says why; the rest is what can be read of it, to answer who sent it."""

    def __init__(
        self,
        reason: str,
        *,
        headers: MessageHeaders | None = None,
        kwargs: Mapping[str, Any] | None = None,
        embed: Mapping[str, Any] | None = None,
        is_unknown_task: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.headers = headers
        self.kwargs = kwargs or {}
        self.embed = embed or {}
        self.is_unknown_task = is_unknown_task

    @property
    def message_id(self) -> str | None:
        """The id of the message, if it has one."""
        return self.headers.id if self.headers else None

    @property
    def task(self) -> str | None:
        """The task of the message, if it has an id and names one."""
        return self.headers.task if self.headers else None


class OldProtocol(Exception):  # named for what happened
    """The message is of protocol 1; *rewritten* is the same in protocol 2."""

    def __init__(self, rewritten: str) -> None:
        super().__init__("protocol 1")
        self.rewritten = rewritten


@dataclass(frozen=True, slots=True)
class _Parts:
    """A message, as far as it can be read."""

    problem: str = ""
    raw_headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: MessageHeaders | None = None
    properties: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: Body = field(default_factory=Body)

    def refused(self, reason: str, *, is_unknown_task: bool = False) -> MalformedMessage:
        """The refusal of this message."""
        return MalformedMessage(
            reason,
            headers=self.headers,
            kwargs=self.body.kwargs,
            embed=self.body.embed,
            is_unknown_task=is_unknown_task,
        )


def parse_message(
    text: str, *, token: str, queue: str, tasks: Collection[str], loads: Loads = json.loads
) -> dict[str, Any]:
    """The message in kombu's form, with *token* as its delivery tag.

    Args:
        text: As it lay in the list.
        token: Of the claim.
        queue: That it lay in.
        tasks: The names of those that can be run.
        loads: Reads the text of the body as Celery does.

    Raises:
        MalformedMessage: If it is no message of Celery's protocol 2 for one of *tasks*.
        OldProtocol: If it is one of protocol 1.
    """
    parts = _read(text, loads=loads)
    if parts.problem or parts.headers is None:
        raise parts.refused(parts.problem)
    if parts.headers.task not in tasks:
        raise parts.refused(f"no worker here knows the task {parts.headers.task!r}", is_unknown_task=True)
    # The time has come by the clock of Redis; with an eta Celery would hold the message until its own clock says so.
    ours = {"eta": None, "expires": parts.headers.expires, "compression": None}
    properties = {name: value for name, value in parts.properties.items() if name != "body_encoding"}
    delivery = {"delivery_tag": token, "delivery_info": delivery_info(parts.raw_headers, parts.properties, queue=queue)}
    return {
        "body": parts.body.text,
        "content-type": _JSON,
        "content-encoding": "utf-8",
        "headers": {**parts.raw_headers, **ours},
        "properties": {**properties, **delivery},
    }


def delivery_info(headers: Mapping[str, Any], properties: Mapping[str, Any], *, queue: str) -> dict[str, Any]:
    """What a task can read of the way of its message: the queue, and whether it was delivered before."""
    before = properties.get("delivery_info")
    was_rejected = isinstance(before, dict) and before.get("redelivered") is True
    return {
        "exchange": "",
        "routing_key": queue,
        "redelivered": was_rejected or bool(headers.get(REDELIVERIES_HEADER)),
    }


def refused(text: str, reason: str, *, loads: Loads = json.loads) -> MalformedMessage:
    """The refusal of a message that passed the check, for a *reason* that was found later."""
    try:
        return _read(text, loads=loads).refused(reason)
    except OldProtocol:
        return MalformedMessage(reason)


def _read(text: str, *, loads: Loads) -> _Parts:
    try:
        envelope = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _Parts(f"not JSON: {error}")
    if has_half_characters(text, envelope):
        return _Parts("half a character (a lone surrogate), which no text may have")
    if not isinstance(envelope, dict):
        return _Parts("not a JSON object")
    return _read_envelope(envelope, text, loads=loads)


def _read_envelope(envelope: dict[str, Any], text: str, *, loads: Loads) -> _Parts:
    raw_headers, raw_properties = envelope.get("headers"), envelope.get("properties")
    raw_headers = {} if raw_headers is None else raw_headers
    raw_properties = {} if raw_properties is None else raw_properties
    if not isinstance(raw_headers, dict) or not isinstance(raw_properties, dict):
        return _Parts("headers and properties must be JSON objects")
    headers, headers_problem = read_headers(raw_headers, text=text)
    properties, properties_problem = read_properties(raw_properties, text=text)
    body = _read_body(envelope, properties.body_encoding, raw_headers.get("compression"), loads=loads)
    if isinstance(body, dict):
        raise OldProtocol(protocol_1.rewrite(envelope, body))
    problem = (headers_problem and f"headers: {headers_problem}") or (
        properties_problem and f"properties: {properties_problem}"
    )
    return _Parts(problem or body.problem, raw_headers, headers, raw_properties, body)


def _read_body(
    envelope: Mapping[str, Any], body_encoding: str | None, compression: object, *, loads: Loads
) -> Body | dict[str, Any]:
    content_type, charset = envelope.get("content-type") or _JSON, envelope.get("content-encoding")
    if content_type != _JSON:
        return Body(problem=f"content type {content_type!r} is not read; send {_JSON}")
    if not isinstance(charset, str | None) or not isinstance(compression, str | None):
        return Body(problem="content-encoding and compression must be text")
    body = envelope.get("body")
    return read_body(body, body_encoding=body_encoding, compression=compression, charset=charset, loads=loads)
