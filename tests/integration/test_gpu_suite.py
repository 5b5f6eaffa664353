"""The GPU suite itself, as far as a CPU can tell: the real sizes are real, and its code runs on them scaled down."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tests.benchmarks._device_clock import union_s
from tests.packaging.conftest import ROOT
from tests.support.real_pipelines import make
from tests.support.real_sizes import REAL

PARAMETERS = {
    "sd15": {"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863},
    "sdxl": {"unet": 2_567_463_684, "text_encoder_2": 694_659_840, "vae": 83_653_863},
    "flux-schnell": {"transformer": 11_891_178_560, "text_encoder_2": 4_762_310_656, "vae": 83_819_683},
}


#: All families take a minute; the short run looks at one.
_ALL = os.environ.get("CI", "").lower() in ("1", "true")


def run(*command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    one_thread = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **one_thread, **env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("family", REAL)
def test_real_sizes_have_as_many_parameters_as_the_real_models(family):
    pipe = make(family, REAL[family], device=torch.device("meta"), dtype=torch.bfloat16)
    for name, count in PARAMETERS[family].items():
        parameters = list(getattr(pipe, name).parameters())
        assert sum(each.numel() for each in parameters) == count
        assert {each.dtype for each in parameters} == {torch.bfloat16}


def test_without_a_device_the_benchmark_says_skipped_and_ends_well():
    done = run("tests.benchmarks.gpu")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == ["skipped"]


@pytest.mark.timeout(300)
def test_the_benchmark_measures_the_same_architectures_scaled_down():
    families = list(REAL) if _ALL else ["sd15"]
    done = run("tests.benchmarks.gpu", "--tiny", *families)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["scaled_down"]
    assert list(found["families"]) == families
    for family in found["families"].values():
        assert [point["jobs"] for point in family["points"]] == [1, 2, 4][: len(family["points"])]
        assert family["merge_over_off"] > 0
        assert all(0 <= family[mode]["idle"] < 1 for mode in ("off", "merge"))
        assert {"step_overhead_ms", "single_overhead", "bare_s"} <= set(family)
    assert found["families"]["sd15"]["merge"]["forwards"] < found["families"]["sd15"]["merge"]["calls"]


@pytest.mark.timeout(300)
def test_the_tests_for_the_device_hold_scaled_down_and_are_skipped_with_a_sentence_without_one():
    some = [] if _ALL else ["-k", "sd15 or float32 or full"]
    done = run("pytest", "tests/gpu", "-q", "-p", "no:cacheprovider", *some, IMAGEFLEET_TEST_GPU_DEVICE="cpu")
    assert done.returncode == 0, done.stdout
    assert ("10 passed, 1 skipped" if _ALL else "4 passed, 1 skipped") in done.stdout
    done = run("pytest", "tests/gpu", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "11 skipped" in done.stdout
    assert "no CUDA device here" in done.stdout


def test_overlapping_spans_of_device_work_are_counted_once():
    assert union_s([(3, 4), (0, 1), (0.5, 2), (1, 1.5)]) == 3
    assert union_s([]) == 0
