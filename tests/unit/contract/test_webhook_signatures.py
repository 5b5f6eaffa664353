"""Webhook signatures: ours and the reference library's are the same, and nothing else passes."""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from imagefleet import webhooks
from imagefleet.contract.results import JobError, JobResult, JobStatus, JobUpdate, StepsDone
from imagefleet.errors import InvalidSignature
from imagefleet.webhooks import Event

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes ...").decode()
OTHER = "whsec_" + base64.b64encode(b"another one, of 32 bytes .......").decode()
RESULT = JobResult(
    id="job-1",
    status=JobStatus.FAILED,
    error=JobError(code="invalid_job", message="ein Hündchen zu viel 🐶", retryable=False),
    finished_at=datetime(2026, 1, 2, tzinfo=UTC),
)
EVENT = Event.for_result(RESULT)
BODY = EVENT.model_dump_json().encode()


def signed(*secrets: str, at: float | None = None) -> dict[str, str]:
    """Headers for BODY, as a worker sends them."""
    now = int(time.time() if at is None else at)
    return webhooks.headers(BODY, secrets=secrets or (SECRET,), event_id=EVENT.id, timestamp=now)


def test_the_signature_of_the_specification_comes_out() -> None:
    """Known answer: the example in the Standard Webhooks reference implementations."""
    signature = webhooks.sign(
        b'{"test": 2432232314}',
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_library_accepts_ours() -> None:
    assert Webhook(SECRET).verify(BODY.decode(), signed()) == json.loads(BODY)


def test_we_accept_the_reference_librarys() -> None:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": EVENT.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(EVENT.id, now, BODY.decode()),
    }

    assert webhooks.verify(BODY, headers, secret=SECRET) == EVENT


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_while_a_secret_is_rotated_out_both_are_good(secret: str) -> None:
    """Each receiver holds one of the two, and either verifies; so does the reference library's."""
    headers = signed(OTHER, SECRET)

    assert webhooks.verify(BODY, headers, secret=secret) == EVENT
    assert Webhook(secret).verify(BODY.decode(), headers)
    assert len(headers["webhook-signature"].split()) == 2


def test_header_names_may_come_in_any_case() -> None:
    headers = {name.title(): value for name, value in signed().items()}

    assert webhooks.verify(BODY, headers, secret=SECRET) == EVENT


def test_a_secret_works_without_its_prefix_too() -> None:
    assert webhooks.verify(BODY, signed(), secret=SECRET.removeprefix("whsec_")) == EVENT


def test_signatures_of_other_kinds_are_passed_over() -> None:
    """The header may carry asymmetric signatures (`v1a`) beside ours."""
    headers = signed()
    headers["webhook-signature"] = "v1a,AAAA v2,BBBB " + headers["webhook-signature"]

    assert webhooks.verify(BODY, headers, secret=SECRET) == EVENT


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_other"},
        {"webhook-timestamp": str(int(time.time()) - 60)},
        {"webhook-timestamp": "now"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1,ä"},
    ],
)
def test_a_changed_header_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignature):
        webhooks.verify(BODY, {**signed(), **change}, secret=SECRET)


def test_a_signature_of_another_version_is_refused() -> None:
    """The same bytes under `v2` are no `v1` signature."""
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", "v2,")

    with pytest.raises(InvalidSignature):
        webhooks.verify(BODY, headers, secret=SECRET)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(name: str) -> None:
    headers = signed()
    del headers[name]

    with pytest.raises(InvalidSignature, match=f"the request has no {name}: "):
        webhooks.verify(BODY, headers, secret=SECRET)


@pytest.mark.parametrize("body", [BODY + b" ", BODY.replace(b"job-1", b"job-2"), b"", BODY[:-1]])
def test_a_changed_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidSignature):
        webhooks.verify(body, signed(), secret=SECRET)


def test_a_wrong_secret_is_refused_by_both_libraries() -> None:
    with pytest.raises(InvalidSignature):
        webhooks.verify(BODY, signed(), secret=OTHER)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY.decode(), signed())


@pytest.mark.parametrize("off_s", [-301, 301, -86_400, 86_400])
def test_a_recorded_request_cannot_be_played_back_later(off_s: int) -> None:
    now = 1_800_000_000

    with pytest.raises(InvalidSignature, match="300 s"):
        webhooks.verify(BODY, signed(at=now + off_s), secret=SECRET, now=now)


@pytest.mark.parametrize("off_s", [-299, 0, 299])
def test_clocks_may_differ_by_minutes(off_s: int) -> None:
    now = 1_800_000_000

    assert webhooks.verify(BODY, signed(at=now + off_s), secret=SECRET, now=now) == EVENT


@pytest.mark.parametrize("secret", ["whsec_ä", "whsec_????", "whsec_abc"])
def test_a_secret_that_is_no_base64_is_named_as_the_fault(secret: str) -> None:
    with pytest.raises(InvalidSignature, match="base64"):
        webhooks.sign(BODY, secret=secret, event_id="e", timestamp=0)


def test_without_secrets_nothing_claims_to_be_signed() -> None:
    assert "webhook-signature" not in webhooks.headers(BODY, secrets=(), event_id="e", timestamp=0)


def test_an_event_has_one_id_however_often_it_is_made() -> None:
    """Receivers drop repetitions by it: a job that ran twice announces its end once."""
    later = RESULT.model_copy(update={"finished_at": datetime(2026, 1, 3, tzinfo=UTC), "attempts": 2})

    assert Event.for_result(later).id == EVENT.id


def test_updates_have_ids_of_their_own() -> None:
    """Each attempt begins once, each step is told once; a repetition has the same id."""
    queued = JobUpdate(id="job-1", status=JobStatus.QUEUED, at=RESULT.finished_at)
    running = JobUpdate(id="job-1", status=JobStatus.RUNNING, attempts=1, at=RESULT.finished_at)
    steps = [running.model_copy(update={"progress": StepsDone(done=done, total=9)}) for done in (1, 2)]
    updates = [queued, running, running.model_copy(update={"attempts": 2}), *steps]

    events = [Event.for_update(update) for update in updates]

    assert [event.type.value for event in events] == ["job.queued", *["job.running"] * 2, *["job.progress"] * 2]
    assert len({event.id for event in [*events, EVENT]}) == 6
    assert Event.for_update(running.model_copy(update={"worker": "other"})).id == events[1].id
    assert [Event.model_validate_json(event.model_dump_json()) for event in events] == events


def test_another_end_of_a_job_is_another_event() -> None:
    canceled = RESULT.model_copy(update={"status": JobStatus.CANCELED})

    assert Event.for_result(canceled).id != EVENT.id
    assert Event.for_result(RESULT.model_copy(update={"id": "job-2"})).id != EVENT.id
