"""Models of real size on a CUDA device: the engine against the bare pipeline, a fleet against the guide's script.

    python -m tests.benchmarks.gpu [--tiny] [--budget-s 280] [sd15 sdxl flux-schnell]

Stable Diffusion 1.5, SDXL and FLUX.1-schnell with random weights in bfloat16, made on the device: no network. What is
measured is printed as it is done, most important first. Last line: one JSON object with the hardware, the versions and
`families`. Of each family, in images a second:

- `bare`: the pipeline, one call after the other; `static`: one call with all prompts
- `off`: jobs at once in mode off; `merge`: `jobs` jobs at once in mode merge
- `single_s`: seconds of one job alone in mode merge, with CUDA graphs; `single_without_graphs_s`: without
- `merge_over_static`, `off_over_bare`, and `single_over_bare`: the ratio of seconds

Of the first family also `fleet`, a real worker with Redis and S3, and `guide`, the script of the guides, on the same
device: `fleet_over_merge`, `fleet_over_guide`.

Without a CUDA device it prints `{"skipped": "..."}`. `--tiny` runs the same code on the CPU, on the same architectures
scaled down. What would begin after `--budget-s` seconds is left out, and named in `left_out`.
"""

import argparse
import json
import platform
import sys
import time
from importlib.metadata import version
from typing import Any

import torch
from tests.benchmarks._gpu_family import FamilyBench
from tests.benchmarks._gpu_fleet import measure_fleet
from tests.support.models.real_pipelines import make
from tests.support.models.real_sizes import REAL, SMALL, Sizes

from imagefleet_worker.hardware.torch_device import free_memory

#: From here on nothing new begins; the longest part takes about 40 s on an H100.
_BUDGET_S = 250.0


def main() -> None:
    """Measure the families that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(REAL)}; default: all")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-fleet", action="store_true", help="leave out the fleet and the guide's script")
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
    for index, family in enumerate(options.families or sizes):
        if time.perf_counter() - started > options.budget_s:
            left_out.append(family)
            continue
        with_fleet = index == 0 and not options.no_fleet
        families[family] = _measure(family, sizes[family], device=device, with_fleet=with_fleet)
        _say(json.dumps({family: families[family]}))
    took_s = round(time.perf_counter() - started, 1)
    print(json.dumps({**_about(device), "families": families, "left_out": left_out, "took_s": took_s}))


def _measure(family: str, sizes: Sizes, *, device: torch.device, with_fleet: bool) -> dict[str, Any]:
    started = time.perf_counter()
    _say(f"{family}: making it")
    # CPUs are slow in bfloat16.
    pipe = make(family, sizes, device=device, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32)
    found = FamilyBench(pipe, sizes, device=device, say=_say).measure()
    if with_fleet:
        found |= measure_fleet(pipe, sizes)
        found["fleet_over_merge"] = round(found["fleet"] / found["merge"], 3)
        found["fleet_over_guide"] = round(found["fleet"] / found["guide"], 3)
    if device.type == "cuda":
        found["peak_bytes"] = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    del pipe
    free_memory()
    return {**found, "took_s": round(time.perf_counter() - started, 1)}


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
