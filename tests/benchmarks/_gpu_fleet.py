"""A real worker with Redis and S3 against the guide's script, on one device and in turn, on a pipeline of real size."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks._two_ways import Guide, Job, workers
from tests.support.fleet.fleet import running_fleet
from tests.support.models.real_sizes import Sizes

_ROUNDS = 2


def measure_fleet(pipe: Any, sizes: Sizes) -> dict[str, float]:
    """Images a second of the fleet and of the guide's script, from the submit to the last image in S3."""
    count = 2 * sizes.jobs
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pipe.save_pretrained(folder / "model", safe_serialization=True)
        fleet = stack.enter_context(running_fleet(folder, is_forked=False))
        fleet.model = folder / "model"
        client = stack.enter_context(fleet.client())
        env = {"IMAGEFLEET_MODEL_DEFAULT_SIZE": f"{sizes.side}x{sizes.side}", "IMAGEFLEET_LEASE_DURATION_S": "30"}
        ours = stack.enter_context(workers(fleet, client, "merge", devices=_one_device(), env=env))
        ours.run(_jobs(sizes, 2))
        ours_s = min(ours.run(_jobs(sizes, count)) for _ in range(_ROUNDS))
        ours.pause(yes=True)
        stack.callback(ours.pause, yes=False)
        guide = Guide(fleet, "spawn", folder, devices=_one_device())
        stack.callback(guide.close)
        guide.run(_jobs(sizes, 2, first=10_000))
        guide_s = min(guide.run(_jobs(sizes, sizes.jobs, first=20_000 + 1_000 * turn)) for turn in range(_ROUNDS))
    return {"fleet": round(count / ours_s, 4), "guide": round(sizes.jobs / guide_s, 4)}


def _one_device() -> str:
    from imagefleet_worker.hardware.discovery import cuda_devices  # noqa: PLC0415

    return ",".join(cuda_devices()[:1]) or "cpu:1"


def _jobs(sizes: Sizes, count: int, *, first: int = 0) -> list[Job]:
    shape = {"steps": sizes.steps, "size": sizes.side}
    return [{"key": f"{seed:05}", "prompt": "a red fox", "seed": seed, **shape} for seed in range(first, first + count)]
