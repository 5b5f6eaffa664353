"""The engine: one loaded model on one device, used by all jobs of the process."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Self

import torch
from PIL import Image

from imagefleet.jobs import GenerationJob
from imagefleet_worker.budget import budget_of, is_to_measure
from imagefleet_worker.decoding import Decoder
from imagefleet_worker.device import choose_device, choose_dtype, describe_device, free_memory, memory_bytes
from imagefleet_worker.errors import JobRejected, ModelUnavailable, OutOfMemory, WorkerError
from imagefleet_worker.families import family_of, problems_of
from imagefleet_worker.forwards import Call, Counts
from imagefleet_worker.inference import mode_for
from imagefleet_worker.meeting import meeting_point
from imagefleet_worker.pipelines import load_pipeline, revision_of
from imagefleet_worker.previews import open_previewer
from imagefleet_worker.rendering import OnStep, Renderer, can_share
from imagefleet_worker.settings import EngineMode, EngineSettings, GroupSettings, ModelSettings, Offload, SpeedSettings
from imagefleet_worker.sketches import OnPreview
from imagefleet_worker.tuning import tune
from imagefleet_worker.turns import Turns

_WARM_UP_SIDE = 256
_NO_LEVERS = SpeedSettings.model_construct()


class Engine:
    """Makes images; safe to use from many threads. Make one with `Engine.load`."""

    def __init__(
        self,
        pipe: Any,
        *,
        model: ModelSettings,
        engine: EngineSettings,
        revision: str,
        speed: SpeedSettings = _NO_LEVERS,
        device: torch.device | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        """Take over *pipe*, a loaded pipeline that nobody else uses; *device* says where it computes, if offloaded.

        A *renderer* takes the place of one that renders in this process alone.
        """
        self._device = device or pipe.device
        self.device_name = describe_device(self._device)
        self.revision = revision
        self._pipe = pipe
        self._model = model
        self._speed = speed
        self._family = family_of(pipe)
        is_shared = engine.mode is not EngineMode.OFF and can_share(pipe, self._family) and not speed.is_one_at_a_time
        self._limit = engine.max_jobs if is_shared else 1
        self.budget = budget_of(engine)
        self._is_to_measure = is_to_measure(engine, device=self._device.type)
        self._rows_per_image = 1
        self._turns = Turns(self._limit, budget=self.budget)
        # Offload of whole models puts their own forwards back after each job.
        denoiser = None if speed.offload is Offload.MODEL else self._family.denoiser
        self._meeting = meeting_point(getattr(pipe, denoiser), engine, self.budget) if denoiser else None
        self._decoder = Decoder(getattr(pipe, "vae", None))
        mode = mode_for(pipe, self._family, speed, device=self._device)
        self._renderer = renderer or Renderer(pipe, self._family, mode=mode)
        self._renderer.previewer = open_previewer(pipe, engine, device=self._device)

    @classmethod
    def load(
        cls,
        model: ModelSettings,
        engine: EngineSettings,
        speed: SpeedSettings = _NO_LEVERS,
        *,
        group: GroupSettings | None = None,
    ) -> Self:
        """Load the model onto its device, or onto several where *group* balances it.

        Raises:
            ModelUnavailable: with what is wrong and what to do.
        """
        if engine.threads is not None:
            torch.set_num_threads(engine.threads)
        device = choose_device(model.device)
        dtype = choose_dtype(model.dtype, device=device)
        pipe = load_pipeline(model, speed, device=device, dtype=dtype, group=group)
        return cls(pipe, model=model, engine=engine, revision=revision_of(model), speed=speed, device=device)

    def warm_up(self) -> None:
        """Make one small image, so that the first job finds everything in place, and measure what the device can do.

        Raises:
            ModelUnavailable: where that fails; the model would fail for every job.
        """
        multiple = self._family.size_multiple
        side = max(multiple, min(self._family.default_size, _WARM_UP_SIDE) // multiple * multiple)
        calls = self._try_out(GenerationJob(prompt="warm up", width=side, height=side, steps=2))
        self._rows_per_image = calls[0][1] if calls else 1
        if self._is_to_measure:
            self._measure()

    def _measure(self) -> None:
        """Set the budget to the rows that are worth it at the default size."""
        job = self.check(GenerationJob(prompt="warm up", steps=1))
        pixels = (job.width or 0) * (job.height or 0)
        calls = self._try_out(job)
        if not calls or self._meeting is None:
            return
        run = partial(self._meeting.forwards.repeat, calls[0])
        tune(self.budget, run, call_pixels=calls[0][1] * pixels, pixels=pixels, device=self._device)

    def _try_out(self, job: GenerationJob) -> Sequence[Call]:
        """Make *job* and give the denoiser's calls, as far as they can be joined with others."""
        with ExitStack() as stack:
            calls = stack.enter_context(self._meeting.forwards.recording()) if self._meeting else []
            try:
                self.render(self.check(job), seed=0, on_step=lambda _done, _total: None)
            except WorkerError as error:
                raise ModelUnavailable(f"the model makes no image: {error.message}") from error
        return calls

    def check(self, job: GenerationJob) -> GenerationJob:
        """*job* with its size, steps and guidance set.

        Raises:
            JobRejected: with everything in it that this model cannot do.
        """
        problems = problems_of(job, self._family, name=type(self._pipe).__name__)
        if problems:
            raise JobRejected("; ".join(problems))
        if job.scheduler is not None:
            self._renderer.schedulers.check(job.scheduler)  # raises where it does not fit
        return job.model_copy(update={k: v for k, v in self._defaults().items() if getattr(job, k) is None})

    def render(
        self,
        job: GenerationJob,
        *,
        seed: int,
        on_step: OnStep,
        on_call: Callable[[], None] = lambda: None,
        on_preview: OnPreview = None,
        exclusive: bool = False,
    ) -> list[Image.Image]:
        """The images of *job* as `check` gave it back; image i is made from *seed* + i.

        Waits for its turn. *on_step* is called from this thread with the steps done and the steps in all; what it
        raises ends the job at once, unchanged, with nothing decoded. *on_call* is called before each call of the
        denoiser, for pipelines that report no steps; a `WorkerError` of it ends the job. *on_preview* gets small
        pictures where the job asks for them. An *exclusive* job is alone on the device.

        Raises:
            OutOfMemory: where the device is too small for it even image by image.
            ImageNotFinite: where an image would be black.
            GenerationFailed: where the pipeline raised an error.
            DeviceFault: where this process can make no more images.
        """
        seeds = range(seed, seed + job.num_images)
        render = partial(
            self._render, job, on_step=on_step, on_call=on_call, on_preview=on_preview, exclusive=exclusive
        )
        if not self._speed.is_image_by_image:
            with suppress(OutOfMemory):
                return render(seeds)
            free_memory()
        return [image for one in seeds for image in render([one])]

    def _render(
        self,
        job: GenerationJob,
        seeds: Sequence[int],
        *,
        on_step: OnStep,
        on_call: Callable[[], None],
        on_preview: OnPreview,
        exclusive: bool,
    ) -> list[Image.Image]:
        with ExitStack() as stack:
            pixels = (job.width or 0) * (job.height or 0)
            cost = pixels * len(seeds) * self._rows_per_image
            visit = stack.enter_context(self._turns.visit(cost=cost, is_exclusive=exclusive))
            heed = None if self._family.has_step_callback else on_call  # ranks stop at a step, together
            enter = visit.entering(heed)  # its prompt is encoded while it waits
            seat = stack.enter_context(self._meeting.seat(pixels=pixels, on_call=enter)) if self._meeting else None

            def on_last_step() -> None:
                visit.end_soon()
                if seat and self._meeting:
                    self._meeting.leave(seat)
                if self._limit > 1:  # the next job may denoise while this one decodes
                    visit.leave()

            def on_step_and_near_end(done: int, total: int) -> None:
                if done >= total - 1:
                    visit.end_soon()
                on_step(done, total)

            after = visit.end_soon if self._speed.is_one_at_a_time else visit.leave
            stack.enter_context(self._decoder.watching(before=on_last_step, after=after))
            return self._renderer.render(
                job, seeds=seeds, on_step=on_step_and_near_end, on_last_step=on_last_step, on_preview=on_preview
            )

    def has_room(self, *, coming: int = 0) -> bool:
        """Whether the device could use one more job now, or in a moment, besides *coming* that are on their way."""
        size = self._defaults()
        return self._turns.has_room(cost=size["width"] * size["height"] * self._rows_per_image, coming=coming)

    def call_when_room(self, function: Callable[[], None]) -> None:
        """Call *function* whenever `has_room` may have become true; from any thread, so it must be quick."""
        self._turns.on_room = function

    def stats(self) -> dict[str, float]:
        """Counters since the start: `forwards`, `calls`, `rows`, `busy_seconds`; and `jobs` on the device now."""
        counts = self._meeting.counts if self._meeting else Counts()
        return {
            "forwards": counts.forwards,
            "calls": counts.calls,
            "rows": counts.rows,
            "busy_seconds": counts.seconds + self._decoder.seconds,
            "jobs": self._turns.count(),
        }

    def memory(self) -> dict[str, float]:
        """Bytes of the device's memory by kind, as `device.memory_bytes`."""
        return memory_bytes(self._device)

    def close(self) -> None:
        """Give the pipeline's modules their own methods back."""
        if self._meeting:
            self._meeting.close()
        self._decoder.close()

    def _defaults(self) -> dict[str, Any]:
        model, family = self._model, self._family
        width, height = (model.default_size or f"{family.default_size}x{family.default_size}").split("x")
        guidance = model.default_guidance_scale
        return {
            "width": int(width),
            "height": int(height),
            "steps": model.default_steps or family.default_steps,
            "guidance_scale": family.default_guidance if guidance is None else guidance,
        }
