"""The doctor sees a certificate that is about to end, a key that all may read, and two files that do not fit."""

from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.c2pa_authority import DAY, Authority
from tests.support.doctor import context

from imagefleet_worker.doctor.outcome import CheckStatus, Finding
from imagefleet_worker.doctor.registry import run_checks

AUTHORITY = Authority()


def found(files: dict[str, str]) -> Finding:
    return next(each for each in run_checks(context(provenance=files), chosen=["c2pa"]) if each.check == "c2pa")


@pytest.mark.parametrize(
    ("ends", "status", "words"),
    [
        (30 * DAY, CheckStatus.OK, "a test image is signed by O=Acme,CN=images (es256) until"),
        (13 * DAY, CheckStatus.WARNING, "and then jobs fail: renew it, and start the workers again"),
        (timedelta(seconds=-1), CheckStatus.FAILED, "ask its issuer for a new one"),
    ],
)
def test_a_certificate_is_used_and_its_end_is_said(
    ends: timedelta, status: CheckStatus, words: str, tmp_path: Path
) -> None:
    outcome = found(AUTHORITY.write(tmp_path, ends=ends)).outcome
    assert outcome.status is status
    assert words in outcome.sentence


def test_a_key_that_every_user_may_read_is_a_warning(tmp_path: Path) -> None:
    files = AUTHORITY.write(tmp_path)
    Path(files["c2pa_key_file"]).chmod(0o644)
    outcome = found(files).outcome
    assert (outcome.status, outcome.sentence.rpartition(": ")[2]) == (
        CheckStatus.WARNING,
        f"chmod o-r {files['c2pa_key_file']}",
    )


def test_files_that_do_not_fit_fail_and_no_files_are_nothing_to_check(tmp_path: Path) -> None:
    one, other = (AUTHORITY.write(tmp_path / name) for name in ("one", "other"))
    outcome = found({**one, "c2pa_key_file": other["c2pa_key_file"]}).outcome
    assert outcome.status is CheckStatus.FAILED
    assert "name the two that were made together" in outcome.sentence
    assert found({}).outcome.status is CheckStatus.SKIPPED
