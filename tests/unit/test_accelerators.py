"""Which workers `imagefleet up` starts on which devices."""

import os
from pathlib import Path

import pytest

from imagefleet_worker.accelerators import chosen_seats, cuda_devices, seats
from imagefleet_worker.errors import SettingsInvalid


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
    found = seats(None, {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert [(seat.name, seat.env["CUDA_VISIBLE_DEVICES"]) for seat in found] == [("gpu0", "0"), ("gpu1", "1")]


def test_fewer_workers_than_devices_can_be_wished() -> None:
    assert [seat.name for seat in seats(1, {"CUDA_VISIBLE_DEVICES": "0,1"})] == ["gpu0"]


def test_workers_on_the_cpu_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    found = seats(2, {"CUDA_VISIBLE_DEVICES": ""})
    assert [(seat.name, seat.env["IMAGEFLEET_ENGINE_THREADS"]) for seat in found] == [("cpu0", "4"), ("cpu1", "4")]


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
    found = chosen_seats(choice, {"CUDA_VISIBLE_DEVICES": "2,3"})
    assert [seat.name for seat in found] == names
    assert [seat.env["CUDA_VISIBLE_DEVICES"] for seat in found] == devices


@pytest.mark.parametrize("choice", ["", "0,", "1,1", "gpu", "cpu:0", "cpu:two", "all,1"])
def test_choice_that_names_no_device_is_refused(choice: str) -> None:
    with pytest.raises(SettingsInvalid, match="--devices"):
        chosen_seats(choice, {})


def test_all_of_none_says_how_to_use_the_cpu() -> None:
    with pytest.raises(SettingsInvalid, match="cpu:1"):
        chosen_seats("all", {"CUDA_VISIBLE_DEVICES": ""})
