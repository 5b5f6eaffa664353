"""Trial runs: jobs that a warm-up makes in order to learn something, through the engine as any other job."""

from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from imagefleet.contract.job_warnings import JobWarning, WarningCode
from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.batching.batch_runner import RecordedCall
from imagefleet_worker.batching.run import RunState
from imagefleet_worker.errors import ModelUnavailable, WorkerError

if TYPE_CHECKING:
    from imagefleet_worker.diffusion.engine import Engine


class Trial(NamedTuple):
    """What came of a trial run."""

    images: list[Image.Image]
    #: Its calls of shared methods that can be joined with others, if they were recorded.
    calls: list[RecordedCall]
    warnings: list[JobWarning]


def make_images(engine: "Engine", job: GenerationJob) -> list[Image.Image]:
    """The images of *job*.

    Raises:
        ModelUnavailable: if it fails or has another size; the model would fail for other jobs, too.
    """
    return _make(engine, job).images


def make_recorded(engine: "Engine", job: GenerationJob) -> Trial:
    """Make *job* alone, and record its calls. Raises as `make_images`."""
    with engine.shared.runner.recording() as calls:
        trial = _make(engine, job)
    return trial._replace(calls=list(calls))


def _make(engine: "Engine", job: GenerationJob) -> Trial:
    warnings: list[JobWarning] = []
    try:
        images = engine.render(
            engine.check(job), seed=job.seed or 0, on_step=lambda _done, _total: None, on_warning=warnings.append
        )
    except WorkerError as error:
        raise ModelUnavailable(
            f"the model makes no image: {error.message}; `imagefleet-worker doctor` looks at it, or choose another"
        ) from error
    for warning in warnings:
        if warning.code == WarningCode.SIZE_CHANGED:
            raise ModelUnavailable(
                f"the model makes no image of this size: {warning.message}; set IMAGEFLEET_MODEL_DEFAULT_SIZE"
            )
    return Trial(images, [], warnings)


def of_denoiser(calls: list[RecordedCall]) -> list[RecordedCall]:
    """Those of *calls* that are the denoiser's."""
    return [call for call in calls if call.method.state is RunState.DENOISING]
