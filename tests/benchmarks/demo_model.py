"""How many of 100 fixed prompts the demo's model draws right, and how long a picture takes.

    python -m tests.benchmarks.demo_model [--way WAY] [--steps 20] [--guidance 7.5] [--side 64] [--out FOLDER]

In float32, one CPU thread a process. WAY is `bare`: by the plain diffusers pipeline one at a time; `off`, `merge` or
`reproducible`: as jobs that come all at once to the engine in this mode; `previews`: as `merge`, with a preview
after each step; or `fleet`: through two workers with Redis and S3. Last line: one JSON object. `right` counts the
pictures whose thing, color, ground and time of day are those of the prompt; `seconds_each` is their mean. The pictures
that are wrong go to FOLDER.
"""

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tests.support.fleet.fleet import Fleet, running_fleet
from tests.support.fleet.processes import wait_until_ready
from tests.support.models.scene_checker import MODEL, SCENES, prompt_for, read

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.settings import EngineSettings, ModelSettings


def load() -> Any:
    """The pipeline as it ships, in float32."""
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe: Any, number: int, options: argparse.Namespace) -> Image.Image:
    """The picture of the scene of that *number*, which is its seed too."""
    made = pipe(
        prompt_for(SCENES[number]),
        num_inference_steps=options.steps,
        guidance_scale=options.guidance,
        width=options.side,
        height=options.side,
        generator=torch.Generator().manual_seed(number),
    )
    return made.images[0]


def draw_all(options: argparse.Namespace) -> tuple[list[Image.Image], float]:
    """All pictures, and the seconds that they took."""
    if options.way == "bare":
        pipe = load()
        draw(pipe, 0, options)  # the first one also loads code
        began = time.perf_counter()
        return [draw(pipe, number, options) for number in range(len(SCENES))], time.perf_counter() - began
    shape = {"width": options.side, "height": options.side, "steps": options.steps, "guidance_scale": options.guidance}
    jobs = [GenerationJob(prompt=prompt_for(scene), seed=number, **shape) for number, scene in enumerate(SCENES)]
    return through_fleet(jobs) if options.way == "fleet" else through_engine(jobs, way=options.way)


def through_engine(jobs: Sequence[GenerationJob], *, way: str) -> tuple[list[Image.Image], float]:
    """The pictures of *jobs*, which come to the engine at once, and the seconds that they took."""
    settings = EngineSettings.model_validate(
        {"mode": "merge" if way == "previews" else way, "threads": 1, "preview_interval_s": 0.001}
    )
    engine = Engine.load(ModelSettings(source=str(MODEL)), settings)
    engine.warm_up()
    ready = [engine.check(job) for job in jobs]
    began = time.perf_counter()
    if way == "previews":
        with ThreadPoolExecutor(len(ready)) as pool:
            pictures = list(pool.map(lambda job: _with_previews(engine, job), ready))
    else:
        pictures = [images[0] for images in engine.render_together(ready)]
    took_s = time.perf_counter() - began
    engine.close()
    return pictures, took_s


def through_fleet(jobs: Sequence[GenerationJob]) -> tuple[list[Image.Image], float]:
    """The pictures of *jobs* as two workers stored them, and the seconds from the first submit to the last result."""
    env = {"IMAGEFLEET_MODEL_SOURCE": str(MODEL)}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_fleet(Path(folder), env=env, is_forked=False) as fleet,
        fleet.client() as client,
    ):
        for worker in [fleet.start("one"), fleet.start("two")]:
            wait_until_ready(worker)
        began = time.perf_counter()
        results = [client.result(job_id, timeout_s=600) for job_id in client.submit_many(jobs)]
        took_s = time.perf_counter() - began
        return [_stored(fleet, result.raise_for_status().artifacts[0].uri) for result in results], took_s


def _with_previews(engine: Engine, job: GenerationJob) -> Image.Image:
    seen: list[Callable[[], Image.Image]] = []
    job = job.model_copy(update={"preview_every": 1})
    [image] = engine.render(job, seed=job.seed or 0, on_step=lambda _done, _total: None, on_preview=seen.append)
    for picture in seen:
        picture()
    return image


def _stored(fleet: Fleet, uri: str) -> Image.Image:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return Image.open(io.BytesIO(fleet.s3.client.get_object(Bucket=bucket, Key=key)["Body"].read())).convert("RGB")


def main() -> None:
    """Draw, read and print."""
    options = _options()
    torch.set_num_threads(1)
    pictures, took = draw_all(options)
    right = 0
    for number, (scene, picture) in enumerate(zip(SCENES, pictures, strict=True)):
        found = read(picture)
        right += found == scene
        if found != scene:
            print(f"{number}: asked for {prompt_for(scene)}, found {prompt_for(found)}", file=sys.stderr)
            if options.out:
                options.out.mkdir(parents=True, exist_ok=True)
                picture.save(options.out / f"{number}.png")
    print(json.dumps({"right": right, "of": len(SCENES), "seconds_each": round(took / len(SCENES), 3)}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=["bare", "off", "merge", "reproducible", "previews", "fleet"], default="bare")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
