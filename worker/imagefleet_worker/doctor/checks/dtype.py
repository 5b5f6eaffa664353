"""The check of number formats: weights on disk in the one that they are served in load fastest, and share memory."""

from collections import Counter

from pydantic import JsonValue

from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, failed, ok, skipped, warning
from imagefleet_worker.doctor.safetensors_files import FLOATS, HeaderBroken, bytes_by_dtype, components, weight_files
from imagefleet_worker.settings.model_folder import why_no_pipeline

#: Parts whose weights are this far of one kind are of that kind: some layers are always kept in float32.
_MOST = 0.5


def check_dtype(context: CheckContext) -> CheckResult:
    """Whether each part's weights lie on disk as they are served."""
    if (folder := context.folder) is None:
        return skipped("the model's files are not on this machine yet")
    model = context.settings.model
    if why := why_no_pipeline(folder):
        return failed(why)
    try:
        parts = {name: weight_files(path, variant=model.variant) for name, path in components(folder).items()}
        stored = {name: _kind(bytes_by_dtype(files)) for name, files in parts.items() if files}
    except (HeaderBroken, OSError, ValueError) as error:
        return failed(f"{error}: copy the model again")
    served = _served(context)
    known: dict[str, JsonValue] = {name: kind for name, kind in stored.items() if kind}
    facts: dict[str, JsonValue] = {"served": served, "stored": known}
    wrong = {name: kind for name, kind in stored.items() if kind and kind != served}
    if not known:
        return skipped("the weights are packed (a quantised model), so their number format says nothing")
    if not wrong:
        return ok(f"{served} on disk and served", **facts)
    found = ", ".join(f"{name} is {kind}" for name, kind in sorted(wrong.items()))
    return warning(f"served as {served}, but on disk {found}: {_harm(set(wrong.values()), served)}", **facts)


def _served(context: CheckContext) -> str:
    from imagefleet_worker.hardware.torch_device import choose_device, choose_dtype  # noqa: PLC0415  # torch takes seconds

    model = context.settings.model
    return str(choose_dtype(model.dtype, device=choose_device(model.device))).removeprefix("torch.")


def _kind(counts: Counter[str]) -> str | None:
    """The number format of most of the weights; None where most are no plain numbers."""
    total = counts.total()
    for name, size in counts.most_common(1):
        return FLOATS.get(name) if size >= _MOST * total else None
    return None


def _harm(stored: set[str], served: str) -> str:
    if served == "float16" and stored & {"bfloat16", "float32"}:
        return "values may not fit float16 and images may be black; set IMAGEFLEET_MODEL_DTYPE to what is on disk"
    if served == "float32":
        return "twice the memory for nothing; set IMAGEFLEET_MODEL_DTYPE to what is on disk where the device can do it"
    return f"each process loads slowly and holds a copy of its own; save the pipeline once in {served} and serve that"
