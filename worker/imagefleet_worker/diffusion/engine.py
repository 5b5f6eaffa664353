"""The engine: one loaded model on one device, used by all jobs of the process."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self

import torch
from PIL import Image

from imagefleet.contract.job_warnings import JobWarning
from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.diffusion.calibration_record import CalibrationRecord, CalibrationRecords
from imagefleet_worker.diffusion.images import PendingImages
from imagefleet_worker.diffusion.job_run import job_run
from imagefleet_worker.diffusion.joining_proof import JoiningProof
from imagefleet_worker.diffusion.loading import load_pipeline
from imagefleet_worker.diffusion.observed_tokenizers import ObservedTokenizers
from imagefleet_worker.diffusion.pipeline_traits import defaults_of, inspect_pipeline, problems_of
from imagefleet_worker.diffusion.preview_throttle import OnPreview
from imagefleet_worker.diffusion.previews import open_previewer
from imagefleet_worker.diffusion.renderer import Renderer
from imagefleet_worker.diffusion.revision import revision_of
from imagefleet_worker.diffusion.shared_pipeline import share_pipeline
from imagefleet_worker.diffusion.step_callback import OnStep
from imagefleet_worker.diffusion.strict_jobs import refuse_if_strict, tell_or_refuse
from imagefleet_worker.diffusion.warm_up import WarmUp
from imagefleet_worker.diffusion.warning_finder import WarningFinder
from imagefleet_worker.errors import JobRejected, OutOfMemory
from imagefleet_worker.hardware.torch_device import choose_device, choose_dtype, describe_device, memory_bytes
from imagefleet_worker.settings import EngineSettings, GroupSettings, ModelSettings, SpeedSettings

_NO_SPEED_SETTINGS = SpeedSettings.model_construct()


class Engine:
    """Makes images; safe to use from many threads. Make one with `Engine.load`, and end it with `close`."""

    def __init__(
        self,
        pipe: Any,
        *,
        model: ModelSettings,
        engine: EngineSettings,
        revision: str,
        speed: SpeedSettings = _NO_SPEED_SETTINGS,
        device: torch.device | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        """Take over *pipe*, a loaded pipeline that nobody else uses; *device* says where it computes, if offloaded.

        A *renderer* takes the place of one that renders in this process alone. Starts the thread that owns the device.
        """
        self.device = device or pipe.device
        self.device_name = describe_device(self.device)
        self.revision = revision
        self.settings = engine
        self.model = model
        self.speed = speed
        self.pipe = pipe
        self.traits = inspect_pipeline(pipe)
        #: Rows of the denoiser's call for one image: 2 if guidance doubles it. Known after the warm-up.
        self.rows_per_image = 1
        #: Whether each call of the pipeline makes one image: as asked for, or since the warm-up found that it must.
        self.is_image_by_image = speed.is_image_by_image
        #: What the warm-up found; None before it.
        self.calibration: CalibrationRecord | None = None
        self._on_capacity: Callable[[], None] = lambda: None
        self.shared = share_pipeline(
            pipe, self.traits, engine=engine, speed=speed, device=self.device, on_capacity=self._announce_capacity
        )
        previewer = open_previewer(pipe, engine, device=self.device)
        self.renderer = renderer or Renderer(pipe, self.traits)
        self.renderer.previewer = previewer
        self.finder = WarningFinder(pipe, self.traits, self.renderer.schedulers)
        self._tokenizers = ObservedTokenizers(pipe, self.shared.loop.current_run)
        self.shared.loop.start()

    @classmethod
    def load(
        cls,
        model: ModelSettings,
        engine: EngineSettings,
        speed: SpeedSettings = _NO_SPEED_SETTINGS,
        *,
        group: GroupSettings | None = None,
    ) -> Self:
        """Load the model onto its device, or onto several if *group* balances it.

        Raises:
            ModelUnavailable: with what is wrong and what to do.
        """
        if engine.threads is not None:
            torch.set_num_threads(engine.threads)
        device = choose_device(model.device)
        dtype = choose_dtype(model.dtype, device=device)
        pipe = load_pipeline(model, speed, device=device, dtype=dtype, group=group)
        return cls(pipe, model=model, engine=engine, revision=revision_of(model), speed=speed, device=device)

    def warm_up(self, records: CalibrationRecords | None = None) -> None:
        """Make small images, so that the first job finds everything in place; measure the device, and prove joining.

        What *records* hold of the same model on the same kind of device is used instead, and what is found is added.

        Raises:
            ModelUnavailable: if no image can be made; the model would fail for every job.
        """
        WarmUp(self, records).run()

    @property
    def joining(self) -> JoiningProof | None:
        """What the warm-up found about joining; None before it, and if the settings join nothing."""
        return self.calibration.joining if self.calibration else None

    def check(self, job: GenerationJob) -> GenerationJob:
        """*job* with its size, steps and guidance set.

        Raises:
            JobRejected: with everything in it that this model cannot do.
        """
        defaults = defaults_of(self.traits, self.model)
        whole = job.model_copy(update={k: v for k, v in defaults.items() if getattr(job, k) is None})
        problems = problems_of(whole, self.traits, name=type(self.pipe).__name__)
        if problems:
            raise JobRejected("; ".join(problems))
        self.finder.check_scheduler(whole)
        return whole

    def foresee(self, job: GenerationJob) -> list[JobWarning]:
        """What will not be as *job*, as it was sent, asks for, as far as it is known before the device is used.

        Raises:
            NotAsAsked: if *job* is strict, and its image would be another one.
        """
        warnings = self.finder.foresee(job, record=self.calibration)
        refuse_if_strict(job, warnings)
        return warnings

    def render(
        self,
        job: GenerationJob,
        *,
        seed: int,
        on_step: OnStep,
        on_call: Callable[[], None] = lambda: None,
        on_preview: OnPreview = None,
        on_warning: Callable[[JobWarning], None] = lambda _: None,
        concurrency_limit: int | None = None,
    ) -> list[Image.Image]:
        """The images of *job* as `check` gave it back; image i is made from *seed* + i.

        Waits for its turn and for the device. The callbacks are called in the thread that owns the device: they must
        not wait for anything. *on_step* is called with the steps done and the steps in all; what it raises ends the job
        at once, unchanged, with nothing decoded. *on_call* is called before each call of the denoiser, for pipelines
        that report no steps; a `WorkerError` of it ends the job. *on_preview* gets small pictures if the job asks for
        them. *on_warning* is called at the end, in this thread, for what is not as asked. With a *concurrency_limit* of
        n, at most n - 1 other jobs are on the device at the same time.

        Raises:
            OutOfMemory: if the device is too small for it even image by image.
            ImageNotFinite: if an image would be black.
            NotAsAsked: if *job* is strict, and there are warnings; what a safety checker flags is only told.
            GenerationFailed: if the pipeline raised an error, or made another number of images.
            DeviceFault: if this process can make no more images.
        """
        found: list[JobWarning] = []

        def render(seeds: Sequence[int]) -> list[Image.Image]:
            run = job_run(
                self.renderer,
                job,
                seeds,
                rows_per_image=self.rows_per_image,
                on_step=on_step,
                on_call=None if self.traits.has_step_callback else on_call,  # ranks stop at a step, together
                on_preview=on_preview,
                on_read=self.finder.check_texts(job) if job.strict else None,
                concurrency_limit=concurrency_limit,
            )
            self.shared.loop.submit([run])
            pending: PendingImages = run.result()
            images = pending.wait(count=len(seeds))
            found.extend(self.finder.of_images(job, images, pending.seen, first=seeds[0] - seed))
            return images

        images = self._render_in_calls(render, range(seed, seed + job.num_images))
        tell_or_refuse(found, job, on_warning)
        return images

    def _render_in_calls(self, render: Callable[[Sequence[int]], list[Image.Image]], seeds: range) -> list[Image.Image]:
        """The images of *seeds* in one call of the pipeline, or if that is not possible in a call for each."""
        if not self.is_image_by_image:
            with suppress(OutOfMemory):
                return render(seeds)
            self.shared.loop.call(self.shared.runner.free_memory)
        return [image for one in seeds for image in render([one])]

    def render_together(self, jobs: Sequence[GenerationJob]) -> list[list[Image.Image]]:
        """The images of all *jobs*, which begin in the same moment, each from its own seed. Raises as `render`."""
        seeds = [range(job.seed or 0, (job.seed or 0) + job.num_images) for job in jobs]
        calls = [[[seed] for seed in each] if self.is_image_by_image else [each] for each in seeds]
        make = partial(job_run, self.renderer, rows_per_image=self.rows_per_image)
        runs = [[(make(job, call), len(call)) for call in each] for job, each in zip(jobs, calls, strict=True)]
        self.shared.loop.submit([run for each in runs for run, _ in each])
        return [[image for run, count in each for image in run.result().wait(count=count)] for each in runs]

    def has_capacity(self, *, coming: int = 0, concurrency_limit: int | None = None) -> bool:
        """Whether the device could use one more job now, or in a moment, besides *coming* that are on their way.

        The smallest limit of one of these is *concurrency_limit*.
        """
        size = defaults_of(self.traits, self.model)
        cost = size["width"] * size["height"] * self.rows_per_image
        return self.shared.admission.has_capacity(cost=cost, coming=coming, concurrency_limit=concurrency_limit)

    def call_when_capacity(self, function: Callable[[], None]) -> None:
        """Call *function* whenever `has_capacity` may have become true; by the device loop, so it must be quick."""
        self._on_capacity = function

    def forget_texts(self) -> None:
        """Encode the next texts anew: a sick device may have made what is kept."""
        self.shared.loop.call(self.shared.runner.free_memory)

    def _announce_capacity(self) -> None:
        self._on_capacity()

    def stats(self) -> dict[str, float]:
        """Counters since the start, and how many `jobs` are on the device now.

        `forwards` of the denoiser, the `calls` that they served and the `rows` in them; `busy_seconds`;
        `graph_replays`; `text_rows` of the text encoders' calls and how many of them were `text_rows_reused`;
        `joining_refused`, 1 if jobs must not be joined; and `left_behind_<reason>`, how often a parked call stayed
        behind when a batch was made.
        """
        return {
            **self.shared.stats(),
            "joining_refused": float(self.joining is not None and not self.joining.is_proved),
        }

    def memory(self) -> dict[str, float]:
        """Bytes of the device's memory by kind, as `torch_device.memory_bytes`."""
        return memory_bytes(self.device)

    def close(self) -> None:
        """End the thread that owns the device, and give the pipeline's modules their own methods back."""
        self.shared.close()
        self._tokenizers.close()
