"""The check of messages: what Celery, kombu and the worker read is right, or the message is refused with a sentence."""

import base64
import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from kombu import compression
from kombu.utils.json import loads

from imagefleet.contract import queues
from imagefleet_worker.queue.body_encoding import MOST_BYTES
from imagefleet_worker.queue.message_check import MalformedMessage, OldProtocol, parse_message
from imagefleet_worker.queue.message_headers import RESERVED_NAMES, MessageHeaders

TASK = "tiny.work"


def message(*, body: Any = None, headers: Any = None, properties: Any = None, **envelope: Any) -> str:
    """A good message with changes."""
    return json.dumps(
        {
            "body": json.dumps([[], {"a": 1}, {}] if body is None else body),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"task": TASK, "id": "one", **(headers or {})},
            "properties": properties or {},
            **envelope,
        }
    )


def parse(text: str) -> dict[str, Any]:
    return parse_message(text, token="token", queue="q", tasks=[TASK], loads=loads)


def refusal(text: str) -> MalformedMessage:
    with pytest.raises(MalformedMessage) as caught:
        parse(text)
    return caught.value


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def test_every_attribute_of_celerys_request_is_checked_or_refused() -> None:
    """Celery copies headers into its request: a header `get` would end the method of that name."""
    attributes = {name for name in dir(Context) if not name.startswith("__")}

    assert attributes - set(MessageHeaders.model_fields) == RESERVED_NAMES


def test_every_header_of_ours_is_checked() -> None:
    ours = {value for name, value in vars(queues).items() if name.endswith("_HEADER")}

    assert ours <= {field.alias or name for name, field in MessageHeaders.model_fields.items()}


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_no_header_takes_the_place_of_an_attribute(name: str) -> None:
    assert name in refusal(message(headers={name: "x"})).reason


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("shadow", ["x"]),
        ("shadow", {}),
        ("x-redeliveries", "abc"),
        ("x-redeliveries", [1]),
        ("x-redeliveries", -1),
        ("x-redeliveries", True),
        ("x-redeliveries", 10**30),
        ("expires", "0001-01-01T00:00:00+23:59"),
        ("expires", "9999-12-31T23:59:59-23:59"),
        ("expires", 7),
        ("expires", "20"),
        ("eta", 7),
        ("eta", "9999-12-32T00:00:00"),
        ("retries", "many"),
        ("retries", 1.5),
        ("retries", -1),
        ("group", 7),
        ("group_index", "x"),
        ("root_id", {}),
        ("parent_id", []),
        ("argsrepr", 7),
        ("kwargsrepr", []),
        ("origin", 7),
        ("lang", []),
        ("ignore_result", "yes"),
        ("ignore_result", 1),
        ("timelimit", []),
        ("timelimit", [1]),
        ("timelimit", ["a", None]),
        ("timelimit", [-1, None]),
        ("timelimit", [1, 2, 3]),
        ("timelimit", 7),
        ("stamped_headers", ["a"]),
        ("stamped_headers", [[]]),
        ("stamps", "x"),
        ("compression", 7),
        ("replaced_task_nesting", "x"),
        ("headers", "x"),
        ("traceparent", 7),
        ("tenant", 7),
        ("mine", nested(50)),
        ("mine", nested(500)),
    ],
)
def test_a_header_that_would_break_later_is_refused_with_its_name(header: str, value: object) -> None:
    problem = refusal(message(headers={header: value}))

    assert "nested" in problem.reason if header == "mine" else header in problem.reason
    assert (problem.message_id, problem.task) == ("one", TASK)
    assert problem.kwargs == ({} if header == "compression" else {"a": 1})


@pytest.mark.parametrize(
    "properties",
    [{"correlation_id": 7}, {"reply_to": []}, {"priority": "high"}, {"body_encoding": 7}, {"x": nested(40)}],
)
def test_a_property_that_would_break_later_is_refused(properties: dict[str, Any]) -> None:
    assert refusal(message(properties=properties)).reason.startswith("properties: ")


def test_what_is_right_passes_unchanged() -> None:
    """With the headers that Celery sends, and those of the sender's own."""
    own = {"mine": {"deep": nested(20)}, "x-redeliveries": 2, "stamped_headers": ["a"], "stamps": {"a": ["b"]}}
    celerys = {"retries": 1, "timelimit": [None, 2.5], "group_index": 0, "shadow": "another name", "utc": True}

    parsed = parse(message(headers={**own, **celerys}, properties={"correlation_id": "one", "mine": 1}))

    assert own | celerys == {name: parsed["headers"][name] for name in own | celerys}
    assert parsed["properties"]["mine"] == 1
    assert parsed["properties"]["delivery_tag"] == "token"


def test_a_time_is_passed_on_in_utc() -> None:
    assert parse(message(headers={"expires": "2026-11-26T20:00:00+01:00"}))["headers"]["expires"] == (
        "2026-11-26T19:00:00+00:00"
    )


@pytest.mark.parametrize(
    "body",
    [
        {"task": TASK, "id": "one"},
        [[], {}],
        [{}, [], {}],
        [[], {}, {"callbacks": "x"}],
        [[], {}, {"errbacks": [7]}],
        [[], {}, {"chain": [{"args": []}]}],
        [[], {}, {"chord": "x"}],
        [[], {}, {"callbacks": [{"task": "a", "options": 7}]}],
        [[], {}, {"unknown": 1}],
        [[], {"a": {"__type__": "datetime", "__value__": "x"}}, {}],
        [[], {"a": {"__type__": ["x"], "__value__": 1}}, {}],
        [[nested(250)], {}, {}],
        [[], {"a": "\ud800"}, {}],
    ],
)
def test_a_body_that_would_break_later_is_refused(body: Any) -> None:
    with pytest.raises((MalformedMessage, OldProtocol)):
        parse(message(body=body))


@pytest.mark.parametrize(
    ("method", "compress"),
    [
        ("application/x-gzip", zlib.compress),
        ("gzip", gzip.compress),
        ("zlib", zlib.compress),
        ("application/x-bz2", bz2.compress),
        ("application/x-lzma", lzma.compress),
        ("xz", lzma.compress),
    ],
)
class TestCompression:
    """Bodies that are compressed are read, and no larger than they may be."""

    def compressed(self, method: str, data: bytes) -> str:
        body = base64.b64encode(data).decode()
        envelope = json.loads(message(headers={"compression": method}, properties={"body_encoding": "base64"}))
        return json.dumps({**envelope, "body": body})

    def test_the_body_is_read(self, method: str, compress: Callable[[bytes], bytes]) -> None:
        parsed = parse(self.compressed(method, compress(b'[[], {"a": "\xc3\xa4"}, {}]')))

        assert json.loads(parsed["body"]) == [[], {"a": "ä"}, {}]
        assert parsed["headers"]["compression"] is None
        assert "body_encoding" not in parsed["properties"]

    def test_a_bomb_is_refused(self, method: str, compress: Callable[[bytes], bytes]) -> None:
        bomb = compress(b" " * 4 * MOST_BYTES)

        assert "larger" in refusal(self.compressed(method, bomb)).reason

    def test_half_of_it_is_refused(self, method: str, compress: Callable[[bytes], bytes]) -> None:
        assert method in refusal(self.compressed(method, compress(b"[[], {}, {}]" * 99)[:-8])).reason


def test_every_method_that_kombu_has_here_is_read_or_named() -> None:
    """A sender that can compress with it is told."""
    for method in compression.encoders():
        body, _ = compression.compress("[[], {}, {}]", method)
        envelope = json.loads(message(headers={"compression": method}, properties={"body_encoding": "base64"}))
        text = json.dumps({**envelope, "body": base64.b64encode(body).decode()})
        assert parse(text)["body"] == "[[], {}, {}]"


def test_pickle_is_refused_and_says_who_waits() -> None:
    problem = refusal(message(**{"content-type": "application/x-python-serialize"}))

    assert "application/x-python-serialize" in problem.reason
    assert problem.message_id == "one"


def test_protocol_1_is_rewritten_in_protocol_2() -> None:
    """As Celery itself sends it; with an eta, which Redis looks for in the headers."""
    with Celery("old", set_as_current=False) as app:
        app.conf.task_protocol = 1
        link = app.signature("next", queue="q")
        sent = app.amqp.as_task_v1("one", TASK, args=(1,), kwargs={"a": 2}, countdown=60, callbacks=[link])
    envelope = json.loads(message(body=dict(sent.body)))
    envelope["headers"] = {"own": "x"}

    with pytest.raises(OldProtocol) as old:
        parse(json.dumps(envelope))

    parsed = json.loads(old.value.rewritten)
    assert parsed["headers"]["eta"] == sent.body["eta"]
    assert parsed["headers"]["own"] == "x"
    args, kwargs, embed = json.loads(parse(old.value.rewritten)["body"])
    assert (args, kwargs) == ([1], {"a": 2})
    assert embed["callbacks"][0]["task"] == "next"
