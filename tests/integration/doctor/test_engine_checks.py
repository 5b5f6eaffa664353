"""What the doctor says of number formats and of images, and what it measures, through a real engine."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from tests.support.doctor import context, write_model
from tests.support.models.engines import Engines

from imagefleet_worker.batching import collation
from imagefleet_worker.doctor.checks.dtype import check_dtype
from imagefleet_worker.doctor.checks.model_files import check_revision
from imagefleet_worker.doctor.checks.parity import check_parity
from imagefleet_worker.doctor.checks.throughput import PLOT_NAME, check_throughput, draw_plot
from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, CheckStatus
from imagefleet_worker.errors import OutOfMemory


def dtype(folder: Path, **model: str) -> CheckResult:
    return check_dtype(context(model={"source": str(folder), "device": "cpu", **model}))


@pytest.mark.parametrize(
    ("stored", "served", "words"),
    [
        ("F32", "bfloat16", "unet is float32: each process loads slowly"),
        ("BF16", "float32", "twice the memory for nothing"),
        ("BF16", "float16", "may not fit float16 and images may be black"),
    ],
)
def test_weights_in_another_number_format_than_is_served_are_a_warning(tmp_path, stored, served, words):
    outcome = dtype(write_model(tmp_path, unet=stored), dtype=served)
    assert outcome.status is CheckStatus.WARNING
    assert words in outcome.sentence


def test_weights_in_the_number_format_that_is_served_are_well(tmp_path):
    assert dtype(write_model(tmp_path / "bf16", unet="BF16"), dtype="bfloat16").status is CheckStatus.OK
    assert dtype(write_model(tmp_path / "auto", unet="F32")).status is CheckStatus.OK  # auto is float32 on the CPU


def test_packed_weights_say_nothing_and_broken_ones_fail(tmp_path):
    folder = write_model(tmp_path, unet="U8")
    assert dtype(folder).status is CheckStatus.SKIPPED
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    assert dtype(folder).status is CheckStatus.FAILED


def test_a_revision_that_has_no_effect_is_a_warning(tmp_path):
    source = {"source": str(write_model(tmp_path))}
    assert check_revision(context(model=source)).status is CheckStatus.OK
    outcome = check_revision(context(model=source | {"revision": "0" * 40}))
    assert outcome.status is CheckStatus.WARNING
    assert "has no effect" in outcome.sentence
    pinned = check_revision(context(model={"source": "somebody/some-model", "revision": "0" * 40}))
    assert pinned.status is CheckStatus.OK


def examined(engines: Engines, *, mode: str = "merge", rows: int = 4, **more) -> CheckContext:
    source = str(engines.source("sd"))
    return context(
        model={"source": source, "default_size": "64x64"}, engine={"mode": mode, "threads": 1}, rows=rows, **more
    )


@pytest.mark.parametrize(
    ("mode", "words"),
    [("merge", "are within"), ("off", "are within"), ("reproducible", "bit for bit")],
)
def test_a_good_engine_has_parity(engines: Engines, mode, words):
    with examined(engines, mode=mode) as patient:
        outcome = check_parity(patient)
    assert outcome.status is CheckStatus.OK
    assert words in outcome.sentence


@pytest.fixture
def mixed_up(monkeypatch) -> None:
    """Outputs of joined forwards go to the wrong jobs."""
    split = collation.split_output

    def mix_up(output: Any, counts: list[int]) -> Any:
        parts = split(output, counts)
        return parts[::-1] if len(set(counts)) == 1 else parts  # padding stays where it is

    monkeypatch.setattr(collation, "split_output", mix_up)


@pytest.mark.usefixtures("mixed_up")
def test_in_mode_reproducible_jobs_get_forwards_of_their_own_where_rows_do_not_keep_their_bits(engines: Engines):
    with examined(engines, mode="reproducible") as patient:
        outcome = check_parity(patient)
    assert outcome.status is CheckStatus.WARNING
    assert "bit for bit" in outcome.sentence
    assert "forwards of its own" in outcome.sentence


@pytest.mark.usefixtures("mixed_up")
def test_a_model_that_may_not_be_joined_is_a_warning_with_the_reason(engines: Engines):
    with examined(engines) as patient:
        outcome = check_parity(patient)
    assert outcome.status is CheckStatus.WARNING
    assert "one at a time" in outcome.sentence
    assert "of 255" in outcome.sentence


def test_joining_that_goes_wrong_after_the_start_fails(engines: Engines, request):
    with examined(engines) as patient:
        assert patient.engine.joining.is_proved
        request.getfixturevalue("mixed_up")
        outcome = check_parity(patient)
    assert outcome.status is CheckStatus.FAILED
    assert "report this" in outcome.sentence


def test_in_a_short_format_what_counts_is_how_far_other_images_are(engines: Engines, request, tmp_path):
    pipe = DiffusionPipeline.from_pretrained(engines.source("sd"), dtype=torch.bfloat16)
    pipe.save_pretrained(tmp_path)
    model = {"source": str(tmp_path), "default_size": "64x64", "dtype": "bfloat16"}
    with context(model=model, engine={"threads": 1}) as patient:
        assert check_parity(patient).status is CheckStatus.OK
        request.getfixturevalue("mixed_up")
        outcome = check_parity(patient)
    assert outcome.status is CheckStatus.FAILED
    assert "bfloat16" in str(outcome.facts["dtype"])


def test_throughput_is_measured_for_growing_numbers_of_jobs_and_drawn(engines: Engines, tmp_path):
    with examined(engines, rows=8, out=tmp_path) as patient:
        outcome = check_throughput(patient)
        plot = draw_plot(patient)
        assert patient.curve is not None
        points = patient.curve.points
    assert outcome.status in (CheckStatus.OK, CheckStatus.WARNING)
    assert [point.jobs for point in points] == [1, 2, 4]  # two rows each: 8 rows are four jobs
    assert points[0].rows == 2
    assert all(point.images_per_s > 0 and point.latency_s > 0 for point in points)
    assert (patient.curve.width, patient.curve.steps) == (64, 2)
    assert plot.status is CheckStatus.OK
    with Image.open(tmp_path / PLOT_NAME) as image:
        assert image.format == "PNG"
        assert image.size == (960, 840)
        drawn = {color for _, color in image.convert("RGB").getcolors(100_000)}
    assert {(0x1F, 0x5F, 0x99), (0xA8, 0x40, 0x2D)} <= drawn, "the two lines are missing"


def test_without_matplotlib_the_plot_is_skipped_with_what_to_install(engines: Engines, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)  # as where it is not installed
    with examined(engines, rows=2, out=tmp_path) as patient:
        check_throughput(patient)
        outcome = draw_plot(patient)
    assert outcome.status is CheckStatus.SKIPPED
    assert "pip install 'imagefleet[doctor]'" in outcome.sentence


def test_a_full_device_ends_the_curve_and_is_told(engines: Engines, monkeypatch):
    with examined(engines, rows=8) as patient:
        render = patient.engine.render

        def small(job, **options):
            if job.seed >= 2:  # the third of several at once
                raise OutOfMemory("no more")
            return render(job, **options)

        monkeypatch.setattr(patient.engine, "render", small)
        outcome = check_throughput(patient)
        assert patient.curve is not None
        assert patient.curve.is_cut
        assert [point.jobs for point in patient.curve.points] == [1, 2]
    assert "memory is too small" in outcome.sentence
