"""The guides' way to use several devices, as a user would write it, kept loaded so that it can be measured in turn.

    torchrun --nproc-per-node 2 -m tests.benchmarks._guide FOLDER MODEL accelerate     # PartialState splits the jobs
    python -m tests.benchmarks._guide FOLDER MODEL spawn --processes 2                  # mp.spawn, ranks by hand

Each process loads the pipeline and waits for `FOLDER/<form>.order-<n>.json`: jobs, and how many make one call. It
makes its share one call after the other, uploads each image, and appends a line with the moment to
`FOLDER/<form>.done-<rank>`.
https://huggingface.co/docs/diffusers/training/distributed_inference
https://huggingface.co/docs/accelerate/usage_guides/distributed_inference
"""

import argparse
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import boto3
import torch
import torch.distributed as dist
from accelerate import PartialState
from botocore.config import Config
from diffusers import DiffusionPipeline
from diffusers.utils.logging import disable_progress_bar

Job = dict[str, Any]
Split = Callable[[list[Job]], AbstractContextManager[Sequence[Job]]]


class Share:
    """One process: its pipeline, its bucket and its part of each order."""

    def __init__(self, options: argparse.Namespace, *, device: torch.device, rank: int) -> None:
        if device.type == "cpu":
            torch.set_num_threads(1)
        disable_progress_bar()
        self._folder, self._form, self._rank = Path(options.folder), options.form, rank
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        self._pipe = DiffusionPipeline.from_pretrained(options.model, use_safetensors=True, torch_dtype=dtype).to(
            device
        )
        self._pipe.set_progress_bar_config(disable=True)
        self._pipe("warm up", width=64, height=64, num_inference_steps=2)
        path_style = Config(s3={"addressing_style": "path"})
        self._s3 = boto3.client("s3", endpoint_url=os.environ["IMAGEFLEET_STORAGE_ENDPOINT_URL"], config=path_style)
        self._bucket = os.environ["IMAGEFLEET_STORAGE_BUCKET"]

    def serve(self, split: Split, *, together: Callable[[], None]) -> None:
        """Work off orders until this process is ended."""
        together()
        (self._folder / f"{self._form}.ready-{self._rank}").touch()
        number = 0
        while True:
            order = self._folder / f"{self._form}.order-{number}.json"
            while not order.exists():
                time.sleep(0.002)
            wanted = json.loads(order.read_text())
            with split(wanted["jobs"]) as mine:
                for first in range(0, len(mine), wanted["batch"]):
                    self._make(mine[first : first + wanted["batch"]])
            together()
            number += 1

    def _make(self, jobs: Sequence[Job]) -> None:
        """One call of the pipeline, for jobs that differ in prompt and seed only."""
        first = jobs[0]
        generators = [torch.Generator("cpu").manual_seed(job["seed"]) for job in jobs]
        size = {"width": first["size"], "height": first["size"]}
        prompts = [job["prompt"] for job in jobs]
        images = self._pipe(prompts, num_inference_steps=first["steps"], generator=generators, **size).images
        for job, image in zip(jobs, images, strict=True):
            file = io.BytesIO()
            image.save(file, "PNG", compress_level=1)  # as the fleet's workers do
            self._s3.put_object(Bucket=self._bucket, Key=f"guide/{job['key']}.png", Body=file.getvalue())
            with (self._folder / f"{self._form}.done-{self._rank}").open("a") as done:
                done.write(json.dumps({"key": job["key"], "at": time.monotonic()}) + "\n")


def accelerate_way(options: argparse.Namespace) -> None:
    """`PartialState` splits the jobs between the processes that torchrun started."""
    state = PartialState(cpu=not torch.cuda.is_available())
    share = Share(options, device=state.device, rank=state.process_index)
    share.serve(state.split_between_processes, together=state.wait_for_everyone)


def spawn_way(rank: int, options: argparse.Namespace) -> None:
    """By hand: each rank takes every n-th job."""
    on_gpus = torch.cuda.is_available()
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(options.port))
    dist.init_process_group("nccl" if on_gpus else "gloo", rank=rank, world_size=options.processes)
    share = Share(options, device=torch.device(f"cuda:{rank}" if on_gpus else "cpu"), rank=rank)
    share.serve(lambda jobs: nullcontext(jobs[rank :: options.processes]), together=dist.barrier)


def main() -> None:
    """Start as the form asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("model")
    parser.add_argument("form", choices=["accelerate", "spawn"])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.form == "accelerate":
        accelerate_way(options)
    else:
        torch.multiprocessing.spawn(spawn_way, args=(options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
