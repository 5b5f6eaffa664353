"""Models of real size on a CUDA device: throughput against rows, merge against off, overhead a step, device idle.

    python -m tests.benchmarks.gpu [--tiny] [sd15 sdxl flux-schnell]

Stable Diffusion 1.5, SDXL and FLUX.1-schnell with random weights in bfloat16, made on the device: no network, no files.
Last line: one JSON object with the hardware, the versions and `families`. Of each:

- `points`: jobs at once, rows of a forward, images a second, seconds a job
- `off` and `merge`: images a second; `idle`, the part of the time in which the device did nothing
- `merge_over_off`: the ratio of their images a second
- `single_overhead`: how much longer one job alone takes in mode merge than the bare pipeline; `step_overhead_ms`: the
  same for each step

`idle` counts pauses between the device's marks before and after each module, not those between the kernels of one
module, so it is a lower bound.

Without a CUDA device it prints `{"skipped": "..."}`. `--tiny` runs the same code on the CPU, on the same architectures
scaled down. Families that would begin after `--budget-s` seconds are left out, and named in `left_out`.
"""

import argparse
import json
import platform
import sys
import time
from importlib.metadata import version
from typing import Any

import torch
from tests.benchmarks._gpu_family import measure_family
from tests.support.real_sizes import REAL, SMALL

_BUDGET_S = 360.0


def main() -> None:
    """Measure the families that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(REAL)}; default: all")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--budget-s", type=float, default=_BUDGET_S)
    options = parser.parse_args()
    if unknown := set(options.families) - set(REAL):
        parser.error(f"no family is called {', '.join(sorted(unknown))}: there are {', '.join(REAL)}")
    if not options.tiny and not torch.cuda.is_available():
        print(json.dumps({"skipped": "no CUDA device here; --tiny runs the same code on the CPU"}))
        return
    device = torch.device("cpu" if options.tiny else "cuda")
    sizes = SMALL if options.tiny else REAL
    if options.tiny:
        torch.set_num_threads(1)  # more would only wait for one another, over so little work
    started = time.perf_counter()
    families: dict[str, Any] = {}
    left_out: list[str] = []
    for family in options.families or sizes:
        if time.perf_counter() - started > options.budget_s:
            left_out.append(family)
            continue
        families[family] = measure_family(family, sizes[family], device=device, say=_say)
        _say(json.dumps(families[family]))
    took_s = round(time.perf_counter() - started, 1)
    print(json.dumps({**_about(device), "families": families, "left_out": left_out, "took_s": took_s}))


def _about(device: torch.device) -> dict[str, Any]:
    """The hardware and the versions."""
    about: dict[str, Any] = {
        "device": platform.processor() or platform.machine(),
        "scaled_down": device.type != "cuda",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {"device": properties.name, "memory_bytes": properties.total_memory, "cuda": torch.version.cuda}
    return about


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
