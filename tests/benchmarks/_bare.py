"""A bare pipeline in a process of its own: reads a number of jobs a line, runs them one by one, writes the seconds."""

import json
import sys
import time

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.logging import disable_progress_bar


def main() -> None:
    """Load the model named first; each further line of standard input is `{"jobs": n, "call": {...}}`."""
    torch.set_num_threads(1)
    disable_progress_bar()
    pipe = DiffusionPipeline.from_pretrained(sys.argv[1], use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    pipe("warm up", width=64, height=64, num_inference_steps=1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        order = json.loads(line)
        took: list[float] = []
        for seed in range(order["jobs"]):
            start = time.perf_counter()
            pipe(**order["call"], generator=torch.Generator("cpu").manual_seed(seed))
            took.append(time.perf_counter() - start)
        sys.stdout.write(json.dumps(took) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
