"""Makes the pictures of the docs from real runs of the demo's model.

    python -m tests.scripts.record_pictures [contact-sheet] [warnings] [previews] [seeds] [lora] [batch]

- `contact-sheet`: what `make demo` made, through the whole fleet
- `warnings`: a contact sheet of images that are not as their jobs asked
- `previews`: the previews of one job, and its image
- `seeds`: one prompt with other seeds
- `lora`: the LoRA of the demo at several scales, by plain diffusers
- `batch`: which jobs shared each forward while six jobs of different lengths came one after the other
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image, ImageDraw, ImageFont
from tests import demo
from tests.support.models.scene_checker import LORA, MODEL
from tests.support.waiting import wait_until

from imagefleet.cli.contact_sheet import write_contact_sheet
from imagefleet.cli.downloads import Picture
from imagefleet.contract.jobs import GenerationJob, ImageFormat
from imagefleet.contract.results import Artifact
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.settings import EngineMode, EngineSettings, ModelSettings

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
PROMPT = "a red boat at sea at dusk"
STEPS = 20
SIDE = 64
#: How much larger than it is made a picture is shown.
ZOOM = 2
MARGIN = 6
CAPTION = 16
BACKGROUND, INK = (255, 255, 255), (60, 60, 60)
#: Of the jobs in the picture of the batch: prompt and steps; each comes after so many steps of the one before.
JOBS = (
    ("a red boat at sea at dusk", 16),
    ("a blue house on a meadow by day", 10),
    ("a yellow rocket in the desert by day", 14),
    ("a white lighthouse on the sea at night", 8),
    ("a green tree in the snow by day", 12),
    ("a red castle on a meadow at night", 6),
)
COMES_AFTER = 3
COLORS = ("#d1495b", "#00798c", "#edae49", "#30638e", "#66a182", "#8d6a9f")
CELL = 20


def contact_sheet() -> Image.Image:
    """What the demo shows at its end. Raises SystemExit if a job of it failed."""
    sys.argv = sys.argv[:1]
    if failed := demo.main():
        raise SystemExit(failed)
    with Image.open(demo.OUT / "contact-sheet.png") as sheet:
        return sheet.convert("RGB")


def warnings() -> Image.Image:
    """A contact sheet: a cut prompt, a scheduler of other steps, a negative prompt without guidance."""
    engine = _engine(EngineMode.MERGE)
    jobs = (
        _job(PROMPT, seed=3),
        _job(PROMPT + ", painted with a wide brush" * 12, seed=3),
        _job(PROMPT, seed=3).model_copy(update={"scheduler": "HeunDiscreteScheduler"}),
        _job(PROMPT, seed=3).model_copy(update={"negative_prompt": "a blue boat", "guidance_scale": 1.0}),
    )
    pictures: list[Picture] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, job in enumerate(jobs):
            found = engine.foresee(job)
            [image] = engine.render(engine.check(job), seed=3, on_step=_go_on, on_warning=found.append)
            path = Path(folder) / f"{number}.png"
            image.save(path)
            codes = tuple(dict.fromkeys(each.code for each in found))
            artifact = Artifact(
                uri="s3://images/warnings",
                media_type="image/png",
                format=ImageFormat.PNG,
                width=image.width,
                height=image.height,
                seed=3,
                sha256="",
                size_bytes=path.stat().st_size,
            )
            pictures.append(Picture(number + 1, path, job.prompt, artifact, codes))
        write_contact_sheet(pictures, Path(folder) / "sheet.png")
        engine.close()
        with Image.open(Path(folder) / "sheet.png") as sheet:
            return sheet.convert("RGB")


def previews() -> Image.Image:
    """The previews after every fourth step, and the image."""
    pending: list[Callable[[], Image.Image]] = []
    engine = _engine(EngineMode.MERGE, preview_interval_s=0.001)
    job = engine.check(_job(PROMPT, seed=3).model_copy(update={"preview_every": 4}))
    [image] = engine.render(job, seed=3, on_step=_go_on, on_preview=pending.append)
    engine.close()
    small = [picture() for picture in pending]
    captions = [f"step {4 * (number + 1)}" for number in range(len(small))]
    return strip([*small, image], captions=[*captions, "the image"])


def seeds() -> Image.Image:
    """One prompt with six seeds."""
    engine = _engine(EngineMode.MERGE)
    jobs = [engine.check(_job(PROMPT, seed=seed)) for seed in range(1, 7)]
    images = [made[0] for made in engine.render_together(jobs)]
    engine.close()
    return strip(images, captions=[f"seed {job.seed}" for job in jobs])


def lora() -> Image.Image:
    """The same seed with the LoRA at six scales."""
    pipe: Any = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(LORA), adapter_name="pencil")
    scales = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    images: list[Image.Image] = []
    for scale in scales:
        pipe.set_adapters(["pencil"], [scale])
        seed = torch.Generator().manual_seed(3)
        made = pipe(PROMPT, num_inference_steps=STEPS, guidance_scale=4.0, width=SIDE, height=SIDE, generator=seed)
        images.append(made.images[0])
    return strip(images, captions=[f"scale {scale}" for scale in scales])


def batch() -> Image.Image:
    """A row for each job and a column for each forward; the image of each job at the end of its row."""
    engine = _engine(EngineMode.MERGE)
    forwards = _record_forwards(engine)
    images: list[Image.Image] = []
    with ThreadPoolExecutor(len(JOBS)) as pool:
        running: list[Any] = []
        for seed, (prompt, steps) in enumerate(JOBS):
            begun = len(forwards) + COMES_AFTER * bool(running)
            wait_until(lambda begun=begun: len(forwards) >= begun, every_s=0.0002)
            job = engine.check(_job(prompt, seed=seed).model_copy(update={"steps": steps}))
            running.append(pool.submit(engine.render, job, seed=seed, on_step=_go_on))
        images += [each.result()[0] for each in running]
    engine.close()
    return _chart(forwards, images)


def strip(images: Sequence[Image.Image], *, captions: Sequence[str]) -> Image.Image:
    """*images* side by side, each with its caption below."""
    side = SIDE * ZOOM
    sheet = Image.new("RGB", (len(images) * (side + MARGIN) - MARGIN, side + CAPTION), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = number * (side + MARGIN)
        sheet.paste(image.resize((side, side), Image.Resampling.BICUBIC), (left, 0))
        draw.text((left + side / 2, side + CAPTION / 2), caption, fill=INK, anchor="mm", font=_font())
    return sheet


def _engine(mode: EngineMode, **settings: float) -> Engine:
    model = ModelSettings(source=str(MODEL), default_size=f"{SIDE}x{SIDE}")
    engine = Engine.load(model, EngineSettings.model_validate({"mode": mode, "threads": 1, **settings}))
    engine.warm_up()
    return engine


def _job(prompt: str, *, seed: int) -> GenerationJob:
    return GenerationJob(prompt=prompt, seed=seed, steps=STEPS, width=SIDE, height=SIDE)


def _go_on(_done: int, _total: int) -> None:
    """Let the job go on."""


def _record_forwards(engine: Engine) -> list[tuple[int, ...]]:
    """From now on, the jobs of each forward of the denoiser, by the order in which they came."""
    forwards: list[tuple[int, ...]] = []
    numbers: dict[Any, int] = {}
    runner, denoiser = engine.shared.runner, engine.shared.denoiser

    def note(runs: Sequence[Any]) -> None:
        forwards.append(tuple(sorted(numbers.setdefault(run, len(numbers)) for run in runs)))

    def serve(calls: Sequence[Any]) -> None:
        if calls[0].method is denoiser:
            note([call.run for call in calls])
        type(runner).serve(runner, calls)

    def run_alone(method: Any, args: Any, kwargs: Any, **more: Any) -> Any:
        if method is denoiser:
            note([engine.shared.loop.current_run()])
        return type(runner).run_alone(runner, method, args, kwargs, **more)

    vars(runner).update(serve=serve, run_alone=run_alone)
    return forwards


def _chart(forwards: Sequence[tuple[int, ...]], images: Sequence[Image.Image]) -> Image.Image:
    row = SIDE + MARGIN
    left, top = 70, CAPTION + MARGIN
    width = left + len(forwards) * CELL
    sheet = Image.new("RGB", (width + MARGIN + SIDE, top + len(images) * row), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top / 2), "each column is one forward of the denoiser", fill=INK, anchor="lm", font=_font())
    for number, image in enumerate(images):
        middle = top + number * row + SIDE // 2
        draw.text((0, middle), f"job {number + 1}", fill=INK, anchor="lm", font=_font())
        for column, jobs in enumerate(forwards):
            if number in jobs:
                x = left + column * CELL
                draw.rectangle((x + 1, middle - CELL, x + CELL - 1, middle + CELL), fill=COLORS[number])
        sheet.paste(image, (width + MARGIN, top + number * row))
    return sheet


def _font() -> Any:
    return ImageFont.load_default(12)


PICTURES = {
    "contact-sheet": contact_sheet,
    "warnings": warnings,
    "previews": previews,
    "seeds": seeds,
    "lora": lora,
    "batch": batch,
}


def main() -> None:
    """Make the pictures that are asked for, or all."""
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(PICTURES)
    if unknown := set(names) - set(PICTURES):
        raise SystemExit(f"there is no picture {', '.join(sorted(unknown))}: choose of {', '.join(PICTURES)}")
    for name in names:
        path = SCREENS / f"{name}.webp"
        PICTURES[name]().save(path, "WEBP", quality=85)
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
