"""Finds the devices of this machine, without importing torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from imagefleet.errors import SettingsInvalid

_VISIBLE: Final = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


class DriverAnswer(NamedTuple):
    """What nvidia-smi says of the devices of this machine."""

    #: Their indexes; empty if there are none, or if nvidia-smi is missing or fails.
    devices: list[str]
    #: Why there are none, in its own words.
    words: str


@dataclass(frozen=True, slots=True)
class DeviceSlot:
    """What one worker process gets of this machine: a name, and the variables that pin it to its device."""

    name: str
    env: Mapping[str, str] = field(default_factory=dict, hash=False)


def cuda_devices(environ: Mapping[str, str] | None = None) -> list[str]:
    """The indexes or ids of CUDA devices, as CUDA_VISIBLE_DEVICES takes them; only those in it, if it is set."""
    env = os.environ if environ is None else environ
    chosen = env.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return _named(chosen)
    return _ask_driver().devices


def devices_asked_for(environ: Mapping[str, str] | None = None) -> list[str]:
    """The devices that this process was given by a variable of CUDA's or ROCm's; empty if none is set."""
    env = os.environ if environ is None else environ
    return next((found for name in _VISIBLE if (found := _named(env.get(name, "")))), [])


def default_slots(workers: int | None, environ: Mapping[str, str] | None = None) -> list[DeviceSlot]:
    """A slot for each CUDA device, at most *workers*; without CUDA *workers* slots on the CPU, or one.

    Several workers on the CPU share its cores.
    """
    devices = cuda_devices(environ)
    if devices:
        return [_on_cuda(device, environ) for device in devices[:workers]]
    return _on_cpu(workers or 1)


def parse_devices(choice: str, environ: Mapping[str, str] | None = None) -> list[DeviceSlot]:
    """The slots that `--devices` asks for: `all`, `cpu:4`, or indexes or ids as CUDA_VISIBLE_DEVICES takes them.

    Raises:
        SettingsInvalid: if that names no device, or one twice.
    """
    kind, _, count = choice.partition(":")
    if kind == "cpu":
        if count and not (count.isdigit() and int(count)):
            raise SettingsInvalid(f"--devices {choice}: say cpu:4 for four workers on the CPU")
        return _on_cpu(int(count or 1))
    devices = cuda_devices(environ) if choice == "all" else [part.strip() for part in choice.split(",")]
    if not devices:
        words = _ask_driver().words or "CUDA_VISIBLE_DEVICES names none"
        raise SettingsInvalid(f"--devices all: there is no device here ({words}); say cpu:1 for one worker on the CPU")
    wrong = sorted({each for each in devices if not _is_device(each) or devices.count(each) > 1})
    if wrong:
        raise SettingsInvalid(
            f"--devices {choice}: {', '.join(map(repr, wrong))} is no device, or named twice; say all, 0,1 or cpu:4"
        )
    there = _ask_driver().devices
    if there and (absent := [each for each in devices if each.isdigit() and each not in there]):
        raise SettingsInvalid(
            f"--devices {choice}: there is no device {', '.join(absent)} here; nvidia-smi shows "
            f"{', '.join(there)}: name some of these"
        )
    return [_on_cuda(device, environ) for device in devices]


def _ask_driver() -> DriverAnswer:
    program = shutil.which("nvidia-smi")
    if program is None:
        return DriverAnswer([], "no nvidia-smi is installed")
    listing = subprocess.run(
        [program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=30, check=False
    )
    if listing.returncode == 0 and listing.stdout.split():
        return DriverAnswer(listing.stdout.split(), "")
    said = " ".join((listing.stdout + listing.stderr).split())
    return DriverAnswer([], f"nvidia-smi: {said or 'shows none'}")


def _named(devices: str) -> list[str]:
    return [part.strip() for part in devices.split(",") if part.strip() not in ("", "-1", "void", "none")]


def _is_device(text: str) -> bool:
    return text.isdigit() or text.startswith(("GPU-", "MIG-"))


def _on_cuda(device: str, environ: Mapping[str, str] | None) -> DeviceSlot:
    env = os.environ if environ is None else environ
    variables = {"CUDA_VISIBLE_DEVICES": device}
    if "CUDA_VISIBLE_DEVICES" not in env:  # else the indexes are its user's, in the order that CUDA gave them
        # nvidia-smi counts devices by their places on the bus; CUDA, if nothing is said, the fastest first.
        variables["CUDA_DEVICE_ORDER"] = env.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return DeviceSlot(f"gpu{device}", variables)


def _on_cpu(count: int) -> list[DeviceSlot]:
    threads = max(1, (os.cpu_count() or 1) // count)
    env = {"CUDA_VISIBLE_DEVICES": "", "IMAGEFLEET_ENGINE_THREADS": str(threads)}
    return [DeviceSlot(f"cpu{index}", env) for index in range(count)]
