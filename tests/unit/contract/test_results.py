"""What a result says, to old readers too."""

from datetime import UTC, datetime

import pytest

from imagefleet.contract.job_warnings import JobWarning
from imagefleet.contract.results import JobError, JobResult, JobStatus
from imagefleet.errors import JobFailed

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_field_of_a_newer_worker_is_ignored() -> None:
    text = '{"id": "a", "status": "succeeded", "finished_at": "2026-01-02T00:00:00Z", "invented": 1}'
    assert JobResult.model_validate_json(text).id == "a"


@pytest.mark.parametrize("status", ["queued", "running", "lost"])
def test_only_a_final_status_makes_a_result(status: str) -> None:
    with pytest.raises(ValueError, match="status"):
        JobResult.model_validate({"id": "a", "status": status, "finished_at": NOW})


def test_raise_for_status_lets_a_success_through() -> None:
    result = JobResult(id="a", status=JobStatus.SUCCEEDED, finished_at=NOW)
    assert result.raise_for_status() is result


def test_raise_for_status_says_code_and_reason() -> None:
    error = JobError(code="out_of_memory", message="too big", retryable=False)
    result = JobResult(id="a", status=JobStatus.FAILED, error=error, finished_at=NOW)
    with pytest.raises(JobFailed, match=r"job a failed \(out_of_memory: too big\)"):
        result.raise_for_status()


def test_warnings_are_in_the_wire_form_only_where_there_are_some() -> None:
    """Old readers and stored results see what they know."""
    plain = JobResult(id="a", status=JobStatus.SUCCEEDED, finished_at=NOW)
    assert "warnings" not in plain.model_dump(mode="json")
    warned = plain.model_copy(update={"warnings": (JobWarning(code="steps_changed", field="steps", message="9"),)})
    (warning,) = warned.model_dump(mode="json")["warnings"]
    assert warning == {"code": "steps_changed", "field": "steps", "image": None, "message": "9", "detail": {}}
    assert JobResult.model_validate_json(warned.model_dump_json()) == warned


def test_a_code_of_a_newer_worker_is_read() -> None:
    assert JobWarning.model_validate({"code": "invented", "message": "new", "level": 3}).code == "invented"


def test_four_statuses_are_final() -> None:
    assert {status for status in JobStatus if not status.is_final} == {JobStatus.QUEUED, JobStatus.RUNNING}
