"""The image maker: one job from its contract to its artifacts, without Celery or Redis."""

import hashlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from imagefleet.contract.job_warnings import JobWarning, WarningCode
from imagefleet.contract.jobs import GenerationJob, JobLimits
from imagefleet.contract.results import JobResult, JobStatus, Timings
from imagefleet_worker.diffusion.defaults import within_limits
from imagefleet_worker.diffusion.engine import Engine
from imagefleet_worker.diffusion.image_checker import ImageChecker, Verdict
from imagefleet_worker.diffusion.strict_jobs import refuse_if_strict, unique
from imagefleet_worker.errors import ImageFlagged, LeaseLost
from imagefleet_worker.hardware.watchdog import Watchdog
from imagefleet_worker.jobs.embedded_parameters import embedded_parameters
from imagefleet_worker.jobs.progress import AttemptProgress
from imagefleet_worker.jobs.running import AttemptState, RunningAttempt
from imagefleet_worker.jobs.uploader import Uploader
from imagefleet_worker.queue.device_entries import DeviceEntries
from imagefleet_worker.settings import EncodingSettings, Flagged, ModelSettings
from imagefleet_worker.storage.image_files import EncodedImage, encode_image
from imagefleet_worker.storage.made_images import MadeImages
from imagefleet_worker.storage.provenance import Provenance


class ImageMaker:
    """Makes and stores the images of jobs with one engine; safe to use from many threads."""

    def __init__(
        self,
        engine: Engine,
        uploader: Uploader,
        watchdog: Watchdog,
        entries: DeviceEntries,
        *,
        model: ModelSettings,
        encoding: EncodingSettings,
        limits: JobLimits,
        checker: ImageChecker | None,
        provenance: Provenance,
        worker: str,
    ) -> None:
        """Name the *model* and the *worker* in each result.

        *watchdog* gets every sign of the device, and *entries* each job that enters it. Sizes and steps that a job
        leaves open are bound by *limits*, too. *checker* looks at the images, and their files say *provenance*.
        """
        self._engine = engine
        self._uploader = uploader
        self._watchdog = watchdog
        self._entries = entries
        self._model = model
        self._encoding = encoding
        self._limits = limits
        self._checker = checker
        self._provenance = provenance
        self._worker = worker

    def generate(self, job: GenerationJob, attempt: RunningAttempt, *, progress: AttemptProgress) -> JobResult:
        """Make and store the images of *job* and return the result.

        It is safe to repeat. The manifest is written last and only once, and a job whose manifest exists makes no
        images. Of two attempts at the same time both return the first one's manifest.

        Raises:
            IdTaken: If the bucket holds the images of another job with this id.
            WorkerError: Its class says what failed, and whether another attempt may help.
        """
        if stored := self._uploader.find(attempt):
            return self._with_urls(stored, job=job)
        made = self._uploader.take(attempt, model=self._model.alias, revision=self._engine.revision)
        if made is None:
            made = self._make(job, attempt, progress=progress)
        attempt.state = AttemptState.UPLOADING
        return self._with_urls(self._uploader.store(made, attempt), job=job)

    def _make(self, job: GenerationJob, attempt: RunningAttempt, *, progress: AttemptProgress) -> MadeImages:
        warnings = self._engine.foresee(job)
        left_open = None in (job.width, job.height, job.steps)
        job = self._engine.check(job)
        job = within_limits(job, self._limits) if left_open else job
        seed = job.seed if job.seed is not None else seed_for(attempt.job_id)
        timings: dict[str, float] = {"queued_s": attempt.queued_s}
        with _timed(timings, "generate_s"):
            images = self._render(job, attempt, seed=seed, progress=progress, timings=timings, warnings=warnings)
        attempt.state = AttemptState.UPLOADING
        verdicts = self._check(images, job=job, warnings=warnings, timings=timings)
        parameters = embedded_parameters(job, self._encoding, model=self._model.alias, revision=self._engine.revision)
        with _timed(timings, "encode_s"):
            files = self._encode(images, job=job, seed=seed, parameters=parameters)
        if verdicts:
            files = [replace(file, labels=verdict.labels) for file, verdict in zip(files, verdicts, strict=True)]
        result = JobResult(
            id=attempt.job_id,
            status=JobStatus.SUCCEEDED,
            warnings=tuple(unique(warnings)),
            timings=Timings(**timings),
            attempts=attempt.number,
            worker=self._worker,
            device=self._engine.device_name,
            model=self._model.alias,
            model_revision=self._engine.revision,
            finished_at=datetime.now(UTC),
            metadata=job.metadata,
            fingerprint=attempt.fingerprint or None,
        )
        return MadeImages(result, files, parameters)

    def _render(
        self,
        job: GenerationJob,
        attempt: RunningAttempt,
        *,
        seed: int,
        progress: AttemptProgress,
        timings: dict[str, float],
        warnings: list[JobWarning],
    ) -> list[Any]:
        start = time.perf_counter()

        def on_call() -> None:  # not every pipeline reports its steps
            self._watchdog.beat()
            attempt.check()

        def on_step(done: int, total: int) -> None:
            if done >= total:
                timings["denoise_s"] = time.perf_counter() - start
            self._watchdog.beat()
            attempt.steps = (done, total)
            progress.step(done, total)
            attempt.check()

        attempt.check()
        if not self._entries.enter(attempt.claim, device=self._engine.device_name):
            raise LeaseLost("the lease was gone before the job entered the device")
        attempt.state = AttemptState.ON_DEVICE
        with self._watchdog.watching():
            images = self._engine.render(
                job,
                seed=seed,
                on_step=on_step,
                on_call=on_call,
                on_preview=progress.preview,
                on_warning=warnings.append,
                concurrency_limit=attempt.concurrency_limit,
            )
        if "denoise_s" in timings:
            timings["decode_s"] = time.perf_counter() - start - timings["denoise_s"]
        return images

    def _check(
        self, images: list[Any], *, job: GenerationJob, warnings: list[JobWarning], timings: dict[str, float]
    ) -> list[Verdict]:
        """What the checker says of *images*, with a warning for each that it flags.

        Raises:
            ImageFlagged: if it, or the model's own checker, has flagged one, and the settings say fail.
            NotAsAsked: if *job* is strict, and there are warnings.
        """
        verdicts: list[Verdict] = []
        if self._checker is not None:
            with _timed(timings, "check_s"):
                verdicts = self._checker.check(images, job)
        warnings += [verdict.warning(index) for index, verdict in enumerate(verdicts) if verdict.flagged]
        is_flagged = any(each.code == WarningCode.IMAGE_FLAGGED for each in warnings)
        if is_flagged and self._model.flagged is Flagged.FAIL:
            raise ImageFlagged(unique(warnings))
        refuse_if_strict(job, warnings)
        return verdicts

    def _encode(
        self, images: list[Any], *, job: GenerationJob, seed: int, parameters: dict[str, Any]
    ) -> list[EncodedImage]:
        return [
            encode_image(
                image,
                format=job.format,
                quality=job.quality,
                seed=seed + index,
                parameters={**parameters, "seed": seed + index} if parameters else {},
                settings=self._encoding,
                provenance=self._provenance,
            )
            for index, image in enumerate(images)
        ]

    def _with_urls(self, result: JobResult, *, job: GenerationJob) -> JobResult:
        return self._uploader.with_urls(result) if job.presign else result


def seed_for(job_id: str) -> int:
    """The seed (32 bits) of a job that names none: the same at every attempt."""
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:4], "big")


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Generator[None]:
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start
