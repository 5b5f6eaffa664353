"""One rank of a group that renders a job in each way that a CPU can, and again alone: `RANK=... python -m ... FOLDER`.

Rank 0 prints, as JSON, the largest difference of each pair of images, in whole steps of 255.
"""

import copy
import faulthandler
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.loading import load_pipeline
from imagefleet_worker.group.parallel_plan import ParallelPlan
from imagefleet_worker.group.parallelism import parallelize
from imagefleet_worker.group.rank import Rank
from imagefleet_worker.group.rendezvous import join
from imagefleet_worker.settings import EngineMode, EngineSettings, ModelSettings, SpeedSettings

CPU = torch.device("cpu")
PLANS = {
    "ulysses": ParallelPlan(ulysses=2),
    "anything": ParallelPlan(ulysses=2, anything=True),
    "tensor": ParallelPlan(tensor=2),
}
CASES = {
    "flux": ("ulysses", "anything", "tensor"),
    "flux2-klein": ("ulysses", "anything", "tensor"),
    "qwen-image": ("anything", "tensor"),  # its prompts' lengths need not be even
}
JOBS = (
    GenerationJob(prompt="a fox in the rain", steps=4, seed=5, num_images=2),
    GenerationJob(prompt="a paper boat on a lake", steps=3, seed=9, width=96, height=48),
    GenerationJob(prompt="an owl, woodcut", steps=2, seed=11),  # texts of odd and even lengths
)


def images(pipe: Any) -> list[np.ndarray[Any, Any]]:
    """The images of `JOBS`, as whole numbers that can be subtracted."""
    model = ModelSettings(default_size="64x64")
    engine = Engine(pipe, model=model, engine=EngineSettings(mode=EngineMode.OFF), revision="")
    made = [engine.render(engine.check(job), seed=job.seed or 0, on_step=lambda _done, _total: None) for job in JOBS]
    engine.close()
    return [np.asarray(image).astype(np.int16) for images in made for image in images]


def main() -> None:
    """Join the other rank, and render."""
    faulthandler.enable()
    rank = Rank.here()
    assert rank
    torch.set_num_threads(1)
    join(rank, device=CPU)
    differences: dict[str, int] = {}
    for family, ways in CASES.items():
        source = ModelSettings(source=str(Path(sys.argv[1]) / family))
        pipe = load_pipeline(source, SpeedSettings(), device=CPU, dtype=torch.float32)
        whole = copy.deepcopy(pipe.transformer)
        alone = images(pipe)
        for way in ways:
            pipe.transformer = copy.deepcopy(whole)
            parallelize(pipe, PLANS[way], device=CPU)
            made = images(pipe)
            differences[f"{family} {way}"] = max(
                int(np.abs(one - other).max()) for one, other in zip(alone, made, strict=True)
            )
    dist.barrier()  # a rank that is gone would end a collective that another is still in
    dist.destroy_process_group()
    if rank.is_leader:
        sys.stdout.write(json.dumps(differences) + "\n")


if __name__ == "__main__":
    main()
