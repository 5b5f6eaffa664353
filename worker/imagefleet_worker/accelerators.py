"""Accelerators: which devices this machine has, found without importing torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from imagefleet_worker.errors import SettingsInvalid


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of one worker process: its name, and the variables that pin it to its device."""

    name: str
    env: Mapping[str, str] = field(default_factory=dict, hash=False)


def cuda_devices(environ: Mapping[str, str] | None = None) -> list[str]:
    """The indexes or ids of CUDA devices, as CUDA_VISIBLE_DEVICES takes them; it is heeded where it is set."""
    env = os.environ if environ is None else environ
    chosen = env.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [part.strip() for part in chosen.split(",") if part.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listing = subprocess.run(
        [program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=30, check=False
    )
    return listing.stdout.split() if listing.returncode == 0 else []


def seats(workers: int | None, environ: Mapping[str, str] | None = None) -> list[Seat]:
    """A seat for each worker: one a CUDA device, at most *workers*; without CUDA *workers* on the CPU, or one.

    More than one worker on the CPU share its cores.
    """
    devices = cuda_devices(environ)
    if devices:
        return [_on_cuda(device) for device in devices[:workers]]
    return _on_cpu(workers or 1)


def chosen_seats(choice: str, environ: Mapping[str, str] | None = None) -> list[Seat]:
    """The seats of `--devices`: `all`, indexes or ids as CUDA_VISIBLE_DEVICES takes them (`0,1`), or `cpu:4`.

    Raises:
        SettingsInvalid: where that names no device, or one twice.
    """
    kind, _, count = choice.partition(":")
    if kind == "cpu":
        if count and not (count.isdigit() and int(count)):
            raise SettingsInvalid(f"--devices {choice}: say cpu:4 for four workers on the CPU")
        return _on_cpu(int(count or 1))
    devices = cuda_devices(environ) if choice == "all" else [part.strip() for part in choice.split(",")]
    if not devices:
        raise SettingsInvalid("--devices all: nvidia-smi shows no device here; cpu:1 is one worker on the CPU")
    wrong = sorted({each for each in devices if not _is_device(each) or devices.count(each) > 1})
    if wrong:
        raise SettingsInvalid(
            f"--devices {choice}: {', '.join(map(repr, wrong))} is no device, or named twice; say all, 0,1 or cpu:4"
        )
    return [_on_cuda(device) for device in devices]


def _is_device(text: str) -> bool:
    return text.isdigit() or text.startswith(("GPU-", "MIG-"))


def _on_cuda(device: str) -> Seat:
    return Seat(f"gpu{device}", {"CUDA_VISIBLE_DEVICES": device})


def _on_cpu(count: int) -> list[Seat]:
    threads = max(1, (os.cpu_count() or 1) // count)
    env = {"CUDA_VISIBLE_DEVICES": "", "IMAGEFLEET_ENGINE_THREADS": str(threads)}
    return [Seat(f"cpu{index}", env) for index in range(count)]
