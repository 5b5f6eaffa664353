"""Waiting misses nothing, whatever the order of things; no sockets, no clock."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagefleet.client.settings import ClientSettings
from imagefleet.client.snapshots import FIELDS, JobEvent, Progress
from imagefleet.client.watch import RECONNECT_FOR_S, InOrder, Listen, Pause, Subscribe, Watch
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.errors import JobNotFound, QueueUnavailable, ResultTimeout

RESULT = JobResult(id="a", status=JobStatus.SUCCEEDED, finished_at=datetime(2026, 1, 1, tzinfo=UTC))
ENDED = json.dumps({"type": "job.succeeded", "id": "a", "data": RESULT.model_dump(mode="json")})
OUTAGE = QueueUnavailable("gone")


def record(status: str | None, *, progress: str | None = None, result: str | None = None) -> list[Any]:
    return [status, progress, result, "default", *[None] * (len(FIELDS) - 4)]


class Script:
    """Answers a watch's effects in turn, and notes them."""

    def __init__(self, ids: list[str], timeout_s: float | None = None) -> None:
        self.now = 0.0
        self.watching = Watch(ClientSettings(), ids, timeout_s=timeout_s, clock=lambda: self.now).run()
        self.events: list[JobEvent] = []
        self.effect: Any = next(self.watching)

    def expect(self, kind: type, reply: object) -> None:
        assert isinstance(self.effect, kind)
        try:
            self.effect = self.watching.send(reply)
            while isinstance(self.effect, JobEvent):
                self.events.append(self.effect)
                self.effect = self.watching.send(None)
        except StopIteration:
            self.effect = None


def test_it_subscribes_before_it_reads() -> None:
    script = Script(["a"])
    assert script.effect == Subscribe(["imagefleet:events:a"])
    script.expect(Subscribe, None)
    script.expect(list, [record("succeeded", result=RESULT.model_dump_json())])
    assert script.effect is None
    assert script.events == [JobEvent("a", JobStatus.SUCCEEDED, None, RESULT)]


def test_progress_and_end_are_heard() -> None:
    script = Script(["a"])
    script.expect(Subscribe, None)
    script.expect(list, [record("queued")])
    script.expect(Listen, json.dumps({"type": "job.progress", "id": "a", "data": {"done": 2, "total": 9}}))
    script.expect(Listen, ENDED)
    assert [event.status for event in script.events] == ["queued", "running", "succeeded"]
    assert script.events[1].progress == Progress(2, 9)
    assert script.effect is None


def test_an_end_that_came_between_is_told_once() -> None:
    """Read from the record, and heard on the channel afterwards."""
    script = Script(["a", "b"])
    script.expect(Subscribe, None)
    script.expect(list, [record("succeeded", result=RESULT.model_dump_json()), record("queued")])
    script.expect(Listen, ENDED)
    assert [event.id for event in script.events] == ["a", "b"]


def test_a_silence_is_not_trusted() -> None:
    """A dead connection is silent as well, so the records are read again."""
    script = Script(["a"])
    script.expect(Subscribe, None)
    script.expect(list, [record("queued")])
    script.expect(Listen, None)
    script.expect(list, [record("succeeded", result=RESULT.model_dump_json())])
    assert script.effect is None


def test_after_an_outage_it_subscribes_and_reads_again() -> None:
    script = Script(["a"])
    script.expect(Subscribe, None)
    script.expect(list, [record("queued")])
    script.expect(Listen, OUTAGE)
    script.expect(Pause, None)
    script.expect(Subscribe, OUTAGE)
    script.expect(Pause, None)
    script.expect(Subscribe, None)
    script.expect(list, [record("succeeded", result=RESULT.model_dump_json())])
    assert [event.status for event in script.events] == ["queued", "succeeded"]


def test_an_outage_at_the_start_is_told_at_once() -> None:
    script = Script(["a"])
    with pytest.raises(QueueUnavailable):
        script.expect(Subscribe, OUTAGE)


def test_a_long_outage_is_told() -> None:
    script = Script(["a"])
    script.expect(Subscribe, None)
    script.expect(list, [record("queued")])
    script.now = RECONNECT_FOR_S + 1
    with pytest.raises(QueueUnavailable):
        script.expect(Listen, OUTAGE)


def test_patience_counts_from_the_last_sign_of_life() -> None:
    """A long run of events is no outage, although no record was read meanwhile."""
    script = Script(["a"])
    script.expect(Subscribe, None)
    script.expect(list, [record("queued")])
    script.now = RECONNECT_FOR_S + 1
    script.expect(Listen, json.dumps({"type": "job.progress", "id": "a", "data": {"done": 2, "total": 9}}))
    script.expect(Listen, OUTAGE)
    assert isinstance(script.effect, Pause)


def test_a_job_without_a_record_is_told_at_once() -> None:
    script = Script(["a"])
    script.expect(Subscribe, None)
    with pytest.raises(JobNotFound, match="a"):
        script.expect(list, [record(None)])


def test_patience_ends_with_the_callers() -> None:
    script = Script(["a"], timeout_s=3)
    script.expect(Subscribe, None)
    script.expect(list, [record("queued")])
    assert script.effect == Listen(3)
    script.now = 3
    script.expect(Listen, None)
    sentence = "job a was still queued after 3 s, and is not canceled: no worker had taken it"
    with pytest.raises(ResultTimeout, match=sentence):
        script.expect(list, [record("queued")])


def test_a_timeout_says_which_jobs_had_not_ended() -> None:
    script = Script(["a", "b", "c"], timeout_s=3)
    script.expect(Subscribe, None)
    script.expect(list, [record("queued"), record("running"), record("succeeded", result=RESULT.model_dump_json())])
    script.now = 3
    script.expect(Listen, None)
    with pytest.raises(ResultTimeout, match="2 of 3 jobs had not ended after 3 s and go on, such as a: wait again"):
        script.expect(list, [record("queued"), record("running")])


def test_with_no_time_at_all_it_still_looks_once() -> None:
    script = Script(["a"], timeout_s=0)
    script.expect(Subscribe, None)
    script.expect(list, [record("succeeded", result=RESULT.model_dump_json())])
    assert script.effect is None


@pytest.mark.parametrize("data", [{"type": "job.invented", "id": "a", "data": {}}])
def test_an_event_of_a_newer_worker_is_passed_over(data: dict[str, Any]) -> None:
    script = Script(["a"])
    script.expect(Subscribe, None)
    script.expect(list, [record("queued")])
    script.expect(Listen, json.dumps(data))
    assert isinstance(script.effect, Listen)


def test_nothing_to_wait_for_is_no_wait() -> None:
    assert list(Watch(ClientSettings(), []).run()) == []


def succeeded(job_id: str) -> JobResult:
    return JobResult(id=job_id, status=JobStatus.SUCCEEDED, finished_at=datetime.now(UTC))


@given(st.permutations(["a", "b", "c", "d", "e"]))
def test_each_comes_once_and_as_early_as_the_order_allows(came: list[str]) -> None:
    order, given_on = InOrder("abcde"), ""
    for count, job_id in enumerate(came, start=1):
        given_on += "".join(result.id for result in order.add(succeeded(job_id)))
        missing = next((each for each in "abcde" if each not in came[:count]), None)
        assert given_on == ("abcde" if missing is None else "abcde".partition(missing)[0])
