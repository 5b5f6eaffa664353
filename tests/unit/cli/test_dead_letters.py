"""`imagefleet dead show`: the message of a dead letter, as people read it."""

import json
from base64 import b64encode

import pytest

from imagefleet.cli.dead_letters import decoded

BODY = [[], {"job": {"prompt": "ein Füchslein"}}, {}]


@pytest.mark.parametrize("encoding", ["base64", None], ids=["of a Celery app", "pushed by hand"])
def test_the_job_in_a_message_can_be_read(encoding: str | None) -> None:
    text = json.dumps(BODY)
    body = b64encode(text.encode()).decode() if encoding else text
    message = json.dumps({"body": body, "headers": {"id": "a"}, "properties": {"body_encoding": encoding}})
    assert decoded(message)["body"] == BODY
    assert decoded(message)["headers"] == {"id": "a"}


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", "{}", '{"body": "no JSON", "properties": {}}', '{"body": 1}'])
def test_what_is_no_message_stays_as_it_is(text: str) -> None:
    assert decoded(text) == text
