"""What a worker changes in a UNet on a CPU: milliseconds of a forward as diffusers makes it, and as a worker does.

    python -m tests.benchmarks.cpu_forwards [--rounds 3]

A tiny Stable Diffusion, one thread for torch. A process for each way and round, by turns (A B A B), because a process
has one allocator. CPU time, medians. Last line: one JSON object, for each size in pixels and number of rows: `bare_ms`,
`worker_ms`, `over_bare`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from tests.support.models.tiny_pipelines import build

from imagefleet_worker.diffusion.loading import load_pipeline
from imagefleet_worker.process.memory import tune_allocator
from imagefleet_worker.settings import ModelSettings, SpeedSettings

SIZES = (64, 128)
ROWS = (2, 16, 32)
_SECONDS = 1.0


def measure(way: str, source: str) -> dict[str, float]:
    """Milliseconds of a forward in this process, by size and rows."""
    torch.set_num_threads(1)
    if way == "worker":
        tune_allocator()
        model = ModelSettings(source=source)
        pipe = load_pipeline(model, SpeedSettings(), device=torch.device("cpu"), dtype=torch.float32)
    else:
        pipe = StableDiffusionPipeline.from_pretrained(source, use_safetensors=True)
    unet = pipe.unet
    found: dict[str, float] = {}
    with torch.inference_mode():
        for size in SIZES:
            for rows in ROWS:
                latents = torch.randn(rows, 4, size // 8, size // 8)
                text, steps = torch.randn(rows, 77, unet.config.cross_attention_dim), torch.full((rows,), 500)
                took: list[float] = []
                end = time.perf_counter() + _SECONDS
                while time.perf_counter() < end:
                    start = time.process_time()
                    unet(latents, steps, encoder_hidden_states=text, return_dict=False)
                    took.append(1000 * (time.process_time() - start))
                found[f"{size}_{rows}"] = statistics.median(took)
    return found


def main() -> None:
    """Measure both ways in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=["bare", "worker"], help=argparse.SUPPRESS)
    parser.add_argument("--source", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure(given.way, given.source)))
        return
    took: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = build("sd", Path(folder) / "model")
        for _ in range(given.rounds):
            for way in ("bare", "worker"):
                command = [sys.executable, "-m", "tests.benchmarks.cpu_forwards", "--way", way, "--source", str(source)]
                run = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ)  # our own program
                for name, each in json.loads(run.stdout.splitlines()[-1]).items():
                    took.setdefault(name, {}).setdefault(way, []).append(each)
    report: dict[str, dict[str, float]] = {}
    for name, ways in took.items():
        bare, worker = (statistics.median(ways[way]) for way in ("bare", "worker"))
        report[name] = {"bare_ms": round(bare, 2), "worker_ms": round(worker, 2), "over_bare": round(worker / bare, 3)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
