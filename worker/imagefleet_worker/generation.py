"""Generation: the story of one job from its contract to its artifacts, without Celery or Redis."""

import hashlib
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from PIL import Image

from imagefleet.jobs import GenerationJob, as_mapping
from imagefleet.results import Artifact, JobResult, JobStatus, Timings
from imagefleet_worker.encoding import EncodedImage, encode
from imagefleet_worker.engine import Engine
from imagefleet_worker.errors import JobCanceled, JobExpired
from imagefleet_worker.flights import Flight
from imagefleet_worker.settings import EncodingSettings, ModelSettings
from imagefleet_worker.storage import Storage
from imagefleet_worker.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Studio:
    """What a worker process has for making images, ready before it takes the first job."""

    engine: Engine
    storage: Storage
    watchdog: Watchdog
    model: ModelSettings
    encoding: EncodingSettings
    worker: str
    #: Told when this process ends of its own will, so that the ranks of its device group end, too.
    farewell: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How a job came to this attempt."""

    attempts: int
    queued_s: float
    #: A redelivered job runs alone: if it ends the process, no other is blamed.
    alone: bool
    on_step: Callable[[int, int], None]
    #: Gets small pictures of what there is so far, for jobs that ask for them.
    on_preview: Callable[[Image.Image], None] | None = None


def generate(job: GenerationJob, *, flight: Flight, studio: Studio, circumstances: Circumstances) -> JobResult:
    """Make and store the images of *job* and return how it went.

    Safe to repeat: keys depend only on the job, the manifest is written last and only once, and a job whose manifest is
    there makes nothing. Of two attempts at the same time both return what the first manifest says.

    Raises:
        WorkerError: of the kind that says who is to blame and whether another attempt may help.
    """
    again = circumstances.attempts > 1 or circumstances.alone
    if again and (stored := studio.storage.read_manifest(flight.job_id)):
        return _with_urls(stored, job=job, storage=studio.storage)
    job = studio.engine.check(job)
    seed = job.seed if job.seed is not None else seed_for(flight.job_id)
    timings: dict[str, float] = {"queued_s": circumstances.queued_s}
    with _timed(timings, "generate_s"):
        images = _render(job, seed=seed, flight=flight, studio=studio, circumstances=circumstances, timings=timings)
    parameters = _parameters(job, studio=studio)
    with _timed(timings, "encode_s"):
        files = [
            encode(
                image,
                format=job.format,
                quality=job.quality,
                seed=seed + index,
                parameters={**parameters, "seed": seed + index},
                settings=studio.encoding,
            )
            for index, image in enumerate(images)
        ]
    with _timed(timings, "upload_s"):
        artifacts = _upload(files, parameters=parameters, flight=flight, storage=studio.storage)
    result = JobResult(
        id=flight.job_id,
        status=JobStatus.SUCCEEDED,
        artifacts=artifacts,
        timings=Timings(**timings),
        attempts=circumstances.attempts,
        worker=studio.worker,
        device=studio.engine.device_name,
        model=studio.model.alias,
        model_revision=studio.engine.revision,
        finished_at=datetime.now(UTC),
        metadata=job.metadata,
    )
    return _with_urls(_seal(result, storage=studio.storage), job=job, storage=studio.storage)


def seed_for(job_id: str) -> int:
    """The seed (32 bits) of a job that names none: the same at every attempt."""
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:4], "big")


def _render(
    job: GenerationJob,
    *,
    seed: int,
    flight: Flight,
    studio: Studio,
    circumstances: Circumstances,
    timings: dict[str, float],
) -> list[Any]:
    start = time.perf_counter()

    def on_call() -> None:  # not every pipeline reports its steps
        studio.watchdog.beat()
        flight.check()

    def on_step(done: int, total: int) -> None:
        if done >= total:
            timings["denoise_s"] = time.perf_counter() - start
        studio.watchdog.beat()
        flight.steps = (done, total)
        circumstances.on_step(done, total)
        flight.check()

    flight.check()
    flight.has_arrived = True
    with studio.watchdog.watching():
        images = studio.engine.render(
            job,
            seed=seed,
            on_step=on_step,
            on_call=on_call,
            on_preview=circumstances.on_preview,
            exclusive=circumstances.alone,
        )
    if "denoise_s" in timings:
        timings["decode_s"] = time.perf_counter() - start - timings["denoise_s"]
    return images


def _upload(
    files: list[EncodedImage], *, parameters: dict[str, Any], flight: Flight, storage: Storage
) -> tuple[Artifact, ...]:
    artifacts: list[Artifact] = []
    try:
        for index, file in enumerate(files):
            flight.check()
            artifacts.append(storage.upload(flight.job_id, index, file, parameters=parameters, presign=False))
        flight.check()
    except (JobCanceled, JobExpired):  # nobody wants what is there already
        storage.delete([artifact.uri for artifact in artifacts])
        raise
    return tuple(artifacts)


def _parameters(job: GenerationJob, *, studio: Studio) -> dict[str, Any]:
    """What made the image, for whoever finds the file: never the webhook, whose URL may be a secret."""
    hidden = {"webhook", "metadata", "presign", "priority", "deadline", "version", "preview_every"}
    asked = {name: value for name, value in as_mapping(job).items() if name not in hidden}
    return {**asked, "model": studio.model.alias, "model_revision": studio.engine.revision}


def _seal(result: JobResult, *, storage: Storage) -> JobResult:
    """Write the manifest and return what it says, the time that took added where it was this attempt that won."""
    start = time.perf_counter()
    stored = storage.write_manifest(result)
    if stored != result:
        return stored
    upload_s = result.timings.upload_s + time.perf_counter() - start
    return result.model_copy(update={"timings": result.timings.model_copy(update={"upload_s": upload_s})})


def _with_urls(result: JobResult, *, job: GenerationJob, storage: Storage) -> JobResult:
    if not job.presign:  # the manifest outlives every presigned URL, so it holds none
        return result
    artifacts = tuple(a.model_copy(update={"url": storage.presign(a.uri)}) for a in result.artifacts)
    return result.model_copy(update={"artifacts": artifacts})


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Generator[None]:
    start = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - start
