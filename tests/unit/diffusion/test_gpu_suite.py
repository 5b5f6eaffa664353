"""The GPU suite itself, as far as a CPU can tell: the real sizes are real, and its code runs on them scaled down."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tests.packaging.conftest import ROOT
from tests.support.models.real_pipelines import make
from tests.support.models.real_sizes import REAL

PARAMETERS = {
    "sd15": {"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863},
    "sdxl": {"unet": 2_567_463_684, "text_encoder_2": 694_659_840, "vae": 83_653_863},
    "flux-schnell": {"transformer": 11_891_178_560, "text_encoder_2": 4_762_310_656, "vae": 83_819_683},
}


only_in_ci = pytest.mark.skipif(
    os.environ.get("CI", "").lower() not in ("1", "true"), reason="takes a minute; run with CI=true"
)


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


@only_in_ci
@pytest.mark.timeout(300)
def test_the_benchmark_measures_the_same_architectures_scaled_down():
    families = list(REAL)
    done = run("tests.benchmarks.gpu", "--tiny", *families)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["scaled_down"]
    assert list(found["families"]) == families
    for family in found["families"].values():
        assert all(family[way] > 0 for way in ("bare", "static", "off", "merge", "single_s", "single_without_graphs_s"))
        assert {"merge_over_static", "off_over_bare", "single_over_bare", "warm_up_s"} <= set(family)
        assert not family["joining_refused"]
    first = found["families"][families[0]]
    assert first["fleet_over_merge"] > 0
    assert first["fleet_over_guide"] > 0


@only_in_ci
@pytest.mark.timeout(300)
def test_the_tests_for_the_device_hold_scaled_down():
    done = run("pytest", "tests/gpu", "-q", "-p", "no:cacheprovider", IMAGEFLEET_TEST_GPU_DEVICE="cpu")
    assert done.returncode == 0, done.stdout
    assert "10 passed, 11 skipped" in done.stdout


def test_the_tests_for_the_device_are_skipped_with_a_sentence_without_one():
    done = run("pytest", "tests/gpu", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "21 skipped" in done.stdout
    assert "no CUDA device here" in done.stdout
