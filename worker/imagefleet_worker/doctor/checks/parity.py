"""The check of parity: a job's image must not depend on the jobs beside it."""

from typing import TYPE_CHECKING, Any, Final

from imagefleet_worker.doctor import sample_jobs
from imagefleet_worker.doctor.context import LEAST_JOBS, CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, failed, ok, warning
from imagefleet_worker.settings import EngineMode

if TYPE_CHECKING:
    from imagefleet_worker.diffusion.joining_proof import JoiningProof

_LEAST_STEPS: Final = 3
#: Above this part of the difference between two seeds, in a short number format, a user might see the difference.
_CLOSE: Final = 0.03


def check_parity(context: CheckContext) -> CheckResult:
    """Whether the engine makes the same images alone and joined: what its start proved, and again at the asked size.

    Raises:
        WorkerError: if the model cannot be loaded or makes no image.
    """
    engine, mode = context.engine, context.mode.value
    if engine.joining is None:
        return warning("the calls of this model's jobs cannot be joined: each job runs alone", joined=False, mode=mode)
    if not engine.joining.is_proved:
        return warning(
            f"jobs are made one at a time, because joining is refused on this device: {engine.joining.reason}; "
            "IMAGEFLEET_ENGINE_MODE=off starts sooner and does the same",
            joined=False,
            mode=mode,
        )
    short = sample_jobs.template_job(context).model_copy(update={"steps": _LEAST_STEPS})
    jobs = sample_jobs.mixed(short, LEAST_JOBS)
    context.say(f"{LEAST_JOBS} jobs alone, then joined")
    return _judge(context, _compared(context, jobs))


def _compared(context: CheckContext, jobs: list[Any]) -> "JoiningProof":
    from imagefleet_worker.diffusion.joining_proof import compare, pixels_of  # noqa: PLC0415  # torch takes seconds

    engine = context.engine
    alone = [pixels_of(engine.render_together([job])[0]) for job in jobs]
    joined = [pixels_of(images) for images in engine.render_together(jobs)]
    is_exact = context.mode is EngineMode.REPRODUCIBLE
    return compare(alone, joined, is_exact=is_exact, is_float32=_dtype(context) == "float32")


def _keeps_bits(context: CheckContext) -> bool:
    record = context.engine.calibration
    return record is None or record.rows_keep_their_bits is not False


def _dtype(context: CheckContext) -> str:
    return str(context.engine.pipe.dtype).removeprefix("torch.")


def _judge(context: CheckContext, found: "JoiningProof") -> CheckResult:
    dtype, most, share = _dtype(context), found.max_difference, found.share
    facts = {"mode": context.mode.value, "dtype": dtype, "max_difference_of_255": most, "share": share}
    if not found.is_proved:
        return failed(
            f"{found.reason}, although a smaller one did not: set IMAGEFLEET_ENGINE_MODE=off for this model, "
            "and report this",
            **facts,
        )
    if context.mode is EngineMode.REPRODUCIBLE and not _keeps_bits(context):
        return warning(
            "mode reproducible: joined images are those made alone, bit for bit; but each job has forwards of its own, "
            "because on this device the values of a row depend on its place in the batch, so joining saves no time",
            **facts,
        )
    if context.mode is EngineMode.REPRODUCIBLE:
        return ok("mode reproducible: joined images are those made alone, bit for bit", **facts)
    if dtype == "float32":
        return ok(f"joined images are within {most} of 255 of those made alone", **facts)
    measure = f"by {share:.1%} of the difference between two seeds"
    if share > _CLOSE:
        return warning(
            f"in {dtype} a joined image differs from the one made alone {measure}; if that matters, "
            "set IMAGEFLEET_ENGINE_MODE=reproducible",
            **facts,
        )
    return ok(f"in {dtype} joined images differ from those made alone {measure}", **facts)
