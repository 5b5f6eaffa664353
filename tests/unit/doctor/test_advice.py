"""What the doctor makes of a curve, and how the command ends."""

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console
from tests.support.doctor import context

from imagefleet_worker.doctor import report
from imagefleet_worker.doctor.advice import advise
from imagefleet_worker.doctor.command import DoctorOptions, InvalidOptions
from imagefleet_worker.doctor.outcome import CheckStatus, Finding, failed, ok, skipped, warning
from imagefleet_worker.doctor.registry import CHECKS, run_checks
from imagefleet_worker.doctor.throughput_curve import Curve, Point
from imagefleet_worker.settings import EngineSettings


def curve(*images_per_s: float, is_cut: bool = False) -> Curve:
    """Points of 1, 2, 4 ... jobs, each with two rows."""
    points = [Point(2**i, 2.0 * 2**i, speed, 2**i / speed) for i, speed in enumerate(images_per_s)]
    return Curve(tuple(points), width=512, height=512, steps=20, device="a device", is_cut=is_cut)


def test_the_fewest_rows_that_come_near_the_best_are_advised():
    outcome = advise(curve(1, 1.9, 2.8, 2.85), EngineSettings())
    assert outcome.status is CheckStatus.OK
    assert outcome.facts["advised"] == {
        "IMAGEFLEET_ENGINE_MODE": "merge",
        "IMAGEFLEET_ENGINE_MAX_ROWS": "8",
        "IMAGEFLEET_ENGINE_MAX_PIXELS": str(8 * 512 * 512),
        "IMAGEFLEET_ENGINE_MAX_JOBS": "4",
    }
    assert "4 at once 2.8 images/s (2.80 times), 1.43 s each" in outcome.sentence
    assert "--rows" not in outcome.sentence


def test_where_it_still_grows_more_rows_are_to_be_tried_unless_the_memory_ends():
    assert "try --rows" in advise(curve(1, 2), EngineSettings()).sentence
    assert "memory is too small" in advise(curve(1, 2, is_cut=True), EngineSettings()).sentence
    assert "try --rows" not in advise(curve(1, 2, is_cut=True), EngineSettings()).sentence


def test_where_joining_gives_nothing_nothing_is_advised():
    outcome = advise(curve(1, 1.02, 0.9), EngineSettings())
    assert outcome.status is CheckStatus.OK
    assert "Joining gives nothing here" in outcome.sentence
    assert "advised" not in outcome.facts


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "off"}, "MODE is off"),
        ({"max_rows": 2}, "16 jobs, 2 rows"),
        ({"max_jobs": 1}, "1 jobs, 32 rows"),
        ({"max_pixels": 2 * 512 * 512}, "16 jobs, 2 rows"),
    ],
)
def test_settings_that_waste_the_device_are_a_warning(settings, words):
    outcome = advise(curve(1, 1.9, 2.8), EngineSettings.model_validate(settings))
    assert outcome.status is CheckStatus.WARNING
    assert words in outcome.sentence


def test_mode_reproducible_keeps_its_rows_for_they_are_part_of_the_bytes():
    outcome = advise(curve(1, 1.9, 2.8), EngineSettings.model_validate({"mode": "reproducible"}))
    assert outcome.facts["advised"] == {"IMAGEFLEET_ENGINE_MAX_JOBS": "4"}


def test_only_a_failed_check_makes_the_command_fail_and_all_stand_in_the_report():
    outcomes = {"a": ok("well", size=3), "b": warning("hm"), "c": skipped("as asked")}
    findings = [Finding(name, outcome) for name, outcome in outcomes.items()]
    assert report.is_healthy(findings)
    findings.append(Finding("d", failed("[broken] thing")))
    assert not report.is_healthy(findings)
    written = json.loads(report.as_json(findings))
    assert not written["healthy"]
    assert written["checks"][0] == {"check": "a", "verdict": "ok", "sentence": "well", "facts": {"size": 3}}
    page = Console(file=io.StringIO(), width=200)
    report.as_table(findings, page)
    printed = page.file.getvalue()
    assert "[broken] thing" in printed  # no markup of rich's
    assert "1 ok, 1 warning, 1 failed, 1 skipped" in printed


@pytest.mark.parametrize(
    ("raises", "status", "words"),
    [
        (lambda _: 1 / 0, CheckStatus.FAILED, "ZeroDivisionError"),
        (lambda s: s.storage.check(), CheckStatus.FAILED, "IMAGEFLEET_STORAGE_BUCKET"),
    ],
)
def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch, raises: Callable, status, words):
    monkeypatch.setitem(CHECKS, "bucket", raises)
    findings = run_checks(context(), chosen=["bucket", "plot"])
    by_name = {finding.check: finding.outcome for finding in findings}
    assert list(by_name) == list(CHECKS)
    assert by_name["bucket"].status is status
    assert words in by_name["bucket"].sentence
    assert by_name["plot"].sentence == "nothing was measured"
    assert by_name["redis"].sentence == "as asked"


def test_without_a_model_its_checks_are_skipped_and_one_fails():
    findings = run_checks(context(), chosen=["revision", "safetensors", "parity", "throughput"])
    verdicts = {f.check: f.outcome.status for f in findings if f.outcome.sentence != "as asked"}
    assert verdicts.pop("revision") is CheckStatus.FAILED
    assert set(verdicts.values()) == {CheckStatus.SKIPPED}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"speed": {"cache": "first_block"}, "engine": {"mode": "off"}}, "first_block"),
        ({"group": {"kind": "context"}}, "several processes"),
    ],
)
def test_what_cannot_be_joined_is_not_joined_to_look_at_it(groups, words):
    findings = run_checks(context(model={"source": "."}, **groups), chosen=["parity", "throughput"])
    sentences = [f.outcome.sentence for f in findings if f.check in ("parity", "throughput")]
    assert all(words in sentence for sentence in sentences)
    assert {f.outcome.status for f in findings} == {CheckStatus.SKIPPED}


def test_a_wish_that_cannot_be_is_refused_with_what_can():
    with pytest.raises(InvalidOptions, match=r"no check is called eyes; there are revision, .*plot"):
        DoctorOptions(skip=["eyes"])
    with pytest.raises(InvalidOptions, match="512x512"):
        DoctorOptions(size="big")
    assert DoctorOptions(only=["redis", "aof"], skip=["aof"]).chosen() == ["redis"]
