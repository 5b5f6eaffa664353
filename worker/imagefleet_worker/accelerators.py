"""Accelerators: which devices this machine has, found without importing torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field


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
        return [Seat(f"gpu{device}", {"CUDA_VISIBLE_DEVICES": device}) for device in devices[:workers]]
    count = workers or 1
    threads = max(1, (os.cpu_count() or 1) // count)
    env = {"CUDA_VISIBLE_DEVICES": "", "IMAGEFLEET_ENGINE_THREADS": str(threads)}
    return [Seat(f"cpu{index}", env) for index in range(count)]
