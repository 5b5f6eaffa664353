"""The wire form is a promise: the stored examples still parse, and what is sent still looks like them."""

import json
from pathlib import Path
from typing import Any

import pytest

from imagefleet.contract import messages
from imagefleet.contract.jobs import GenerationJob, to_wire
from imagefleet.contract.queues import GENERATE_TASK
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.webhooks import Event

WIRE = Path(__file__).parent / "wire"
VARYING = {"delivery_tag", "origin"}


def stored(name: str) -> Any:
    return json.loads((WIRE / f"{name}.json").read_text())


def without_varying(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_varying(inner) for key, inner in value.items() if key not in VARYING}
    return value


def test_the_stored_job_still_parses_and_goes_out_unchanged() -> None:
    assert to_wire(GenerationJob.parse(stored("job"))) == stored("job")


def test_the_least_job_still_parses() -> None:
    assert GenerationJob.parse(stored("job_minimal")).prompt == "a dog"


@pytest.mark.parametrize("name", ["result_succeeded", "result_failed"])
def test_the_stored_results_still_parse_and_go_out_unchanged(name: str) -> None:
    assert JobResult.model_validate(stored(name)).model_dump(mode="json") == stored(name)


def test_the_stored_event_still_parses_and_goes_out_unchanged() -> None:
    event = Event.model_validate(stored("event"))
    assert event.data.status is JobStatus.SUCCEEDED
    assert event.model_dump(mode="json") == stored("event")


def test_the_envelope_is_the_stored_one() -> None:
    """But for the two values that differ each time."""
    link = {"task": "app.done", "args": [], "kwargs": {}, "options": {}}
    sent = messages.encode(
        GENERATE_TASK, {"job": stored("job")}, message_id="job-1", queue="imagefleet.sdxl", link=link
    )
    assert without_varying(json.loads(sent)) == without_varying(stored("envelope"))


@pytest.mark.parametrize("name", ["envelope", "envelope_minimal"])
def test_the_job_in_a_stored_envelope_still_parses(name: str) -> None:
    args, kwargs, _ = json.loads(stored(name)["body"])
    assert args == []
    assert GenerationJob.parse(kwargs["job"])


def test_every_message_has_a_delivery_tag_of_its_own() -> None:
    sent = [json.loads(messages.encode("t", {}, message_id="a", queue="q")) for _ in range(2)]
    assert sent[0]["properties"]["delivery_tag"] != sent[1]["properties"]["delivery_tag"]


def test_a_link_may_be_one_signature_or_several() -> None:
    one = {"task": "a", "args": [], "kwargs": {}, "options": {}}
    for link in (one, [one]):
        embed = json.loads(json.loads(messages.encode("t", {}, message_id="a", queue="q", link=link))["body"])[2]
        assert embed["callbacks"] == [one]


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        messages.encode("t", {"x": float("nan")}, message_id="a", queue="q")
