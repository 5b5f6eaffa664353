"""Which workers `imagefleet up` starts on which devices."""

import os
from pathlib import Path

import pytest
import torch

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.hardware.discovery import cuda_devices, default_slots, devices_asked_for, parse_devices
from imagefleet_worker.hardware.torch_device import choose_device


@pytest.mark.parametrize(
    ("environ", "order"),
    [
        ({}, "PCI_BUS_ID"),
        ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, "FASTEST_FIRST"),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, None),
    ],
)
def test_indexes_are_those_of_nvidia_smi_unless_the_user_has_said_others(
    environ: dict[str, str], order: str | None
) -> None:
    """CUDA itself counts the fastest device first."""
    [slot] = parse_devices("1", environ)
    assert slot.env.get("CUDA_DEVICE_ORDER") == order


def test_chosen_devices_are_heeded() -> None:
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": "2, 0"}) == ["2", "0"]


@pytest.mark.parametrize("none", ["", "-1"])
def test_cuda_can_be_switched_off(none: str) -> None:
    assert cuda_devices({"CUDA_VISIBLE_DEVICES": none}) == []


def test_devices_are_asked_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert cuda_devices({}) == ["0", "1"]


def test_driver_that_fails_means_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho broken\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert cuda_devices({}) == []


def test_each_device_has_its_own_worker() -> None:
    found = default_slots(None, {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert [(slot.name, slot.env["CUDA_VISIBLE_DEVICES"]) for slot in found] == [("gpu0", "0"), ("gpu1", "1")]


def test_fewer_workers_than_devices_can_be_wished() -> None:
    assert [slot.name for slot in default_slots(1, {"CUDA_VISIBLE_DEVICES": "0,1"})] == ["gpu0"]


def test_workers_on_the_cpu_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    found = default_slots(2, {"CUDA_VISIBLE_DEVICES": ""})
    assert [(slot.name, slot.env["IMAGEFLEET_ENGINE_THREADS"]) for slot in found] == [("cpu0", "4"), ("cpu1", "4")]


@pytest.mark.parametrize(
    ("choice", "names", "devices"),
    [
        ("all", ["gpu2", "gpu3"], ["2", "3"]),
        ("0,1", ["gpu0", "gpu1"], ["0", "1"]),
        ("MIG-12", ["gpuMIG-12"], ["MIG-12"]),
        ("cpu:2", ["cpu0", "cpu1"], ["", ""]),
        ("cpu", ["cpu0"], [""]),
    ],
)
def test_devices_can_be_chosen(choice: str, names: list[str], devices: list[str]) -> None:
    found = parse_devices(choice, {"CUDA_VISIBLE_DEVICES": "2,3"})
    assert [slot.name for slot in found] == names
    assert [slot.env["CUDA_VISIBLE_DEVICES"] for slot in found] == devices


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of that name before all others."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_device_that_the_driver_does_not_show_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "echo 0; echo 1")

    with pytest.raises(SettingsInvalid, match=r"no device 7 here; nvidia-smi shows 0, 1"):
        parse_devices("0,7", {})


def test_a_broken_driver_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "echo NVIDIA-SMI has failed because it could not reach the driver.; exit 9")

    with pytest.raises(SettingsInvalid, match="could not reach the driver"):
        parse_devices("all", {})


@pytest.mark.parametrize(
    ("environ", "asked_for"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,GPU-1"}, ["0", "GPU-1"]),
        ({"HIP_VISIBLE_DEVICES": "2"}, ["2"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({}, []),
    ],
)
def test_the_devices_of_a_process_are_those_of_its_variables(environ: dict[str, str], asked_for: list[str]) -> None:
    assert asked_for == devices_asked_for(environ)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
@pytest.mark.parametrize(("name", "asked_for"), [("auto", ["7"]), ("cuda", []), ("cuda", ["7"])])
def test_no_cpu_takes_the_place_of_a_device_that_was_asked_for(name: str, asked_for: list[str]) -> None:
    """The words of torch or the driver are in the sentence."""
    with pytest.raises(ModelUnavailable, match=r"asked for.*(CUDA enabled|NVIDIA driver|No CUDA GPUs)"):
        choose_device(name, asked_for=asked_for)


def test_a_cpu_that_was_asked_for_is_taken() -> None:
    """Whatever CUDA_VISIBLE_DEVICES says."""
    assert choose_device("cpu", asked_for=["7"]).type == "cpu"


@pytest.mark.parametrize("choice", ["", "0,1,1", "gpu", "cpu:0", "cpu:two", "all,1"])
def test_choice_that_names_no_device_is_refused(choice: str) -> None:
    with pytest.raises(SettingsInvalid, match="--devices"):
        parse_devices(choice, {})


def test_all_of_none_says_how_to_use_the_cpu() -> None:
    with pytest.raises(SettingsInvalid, match="cpu:1"):
        parse_devices("all", {"CUDA_VISIBLE_DEVICES": ""})
