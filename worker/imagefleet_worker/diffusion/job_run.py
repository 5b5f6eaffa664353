"""The run of a job: what the device loop executes to make its images."""

from collections.abc import Callable, Sequence
from typing import Any

from imagefleet.contract.jobs import GenerationJob
from imagefleet_worker.batching.run import DeviceRun, RunState
from imagefleet_worker.diffusion.observed_tokenizers import TokenizedText
from imagefleet_worker.diffusion.preview_throttle import OnPreview
from imagefleet_worker.diffusion.renderer import Renderer
from imagefleet_worker.diffusion.step_callback import OnStep

#: Gets what the tokenizers of a run were called with.
OnRead = Callable[[Sequence[TokenizedText]], None]


def job_run(
    renderer: Renderer,
    job: GenerationJob,
    seeds: Sequence[int],
    *,
    rows_per_image: int,
    on_step: OnStep = lambda _done, _total: None,
    on_call: Callable[[], None] | None = None,
    on_preview: OnPreview = None,
    on_read: OnRead | None = None,
    concurrency_limit: int | None = None,
) -> DeviceRun:
    """A run that makes one image of *job* for each of *seeds* with *renderer*; its result are `PendingImages`.

    Each image has *rows_per_image* rows in a call of the denoiser. *on_read* is called once, when its prompts have been
    read and no later than after its first step; what it raises ends the run. The other callbacks are those of
    `Engine.render`.
    """
    reading = _Reading(on_read)

    def work(run: DeviceRun) -> Any:
        def on_step_and_near_end(done: int, total: int) -> None:
            if done >= total - 1:
                run.end_soon()
            reading.note(run)
            on_step(done, total)

        return renderer.render(
            job,
            seeds=seeds,
            run=run,
            on_step=on_step_and_near_end,
            on_last_step=lambda: run.advance(RunState.DECODING),
            on_preview=on_preview,
        )

    def on_denoiser_call() -> None:
        if on_call is not None:
            reading.note(run)
            on_call()

    pixels, call = (job.width or 0) * (job.height or 0), on_denoiser_call if on_call else None
    cost = pixels * len(seeds) * rows_per_image
    run = DeviceRun(work, cost=cost, pixels=pixels, concurrency_limit=concurrency_limit, on_call=call)
    return run


class _Reading:
    """Calls *on_read* once."""

    def __init__(self, on_read: OnRead | None) -> None:
        self._on_read = on_read

    def note(self, run: DeviceRun) -> None:
        """Call it now, unless it was called before."""
        if self._on_read is not None:
            on_read, self._on_read = self._on_read, None
            on_read(run.notes)
