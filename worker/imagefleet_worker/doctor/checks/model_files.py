"""Checks of the model's files: what they are, who may touch them, which version they are, in which number format."""

import os
import stat
from pathlib import Path

from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.outcome import CheckResult, failed, ok, skipped, warning
from imagefleet_worker.doctor.safetensors_files import PICKLES, components, files_in, weight_files
from imagefleet_worker.settings.model_folder import why_no_pipeline

_NOT_HERE = "the model's files are not on this machine yet: a worker would download them; then run this again"
_SHOWN = 3


def check_safetensors(context: CheckContext) -> CheckResult:
    """Whether every part with weights has them as safetensors, and nothing that can run code lies beside them."""
    if (folder := context.folder) is None:
        return skipped(_NOT_HERE)
    try:
        parts = components(folder)
    except (OSError, ValueError) as error:
        return failed(why_no_pipeline(folder) or f"the model_index.json of {folder} cannot be read: {error}")
    pickles = [path for path in files_in(folder) if path.suffix in PICKLES]
    variant = context.settings.model.variant
    unreadable = sorted({p.parent.name for p in pickles if not weight_files(p.parent, variant=variant)} & set(parts))
    if unreadable:
        return failed(
            f"only pickled weights in {', '.join(unreadable)}: workers do not read them, because they can run code. "
            "Save the pipeline again with save_pretrained(folder, safe_serialization=True)"
        )
    code = [path for path in files_in(folder) if path.suffix == ".py"]
    if pickles or code:
        return warning(f"{_some(pickles + code, folder)}: never read, and can run code elsewhere; remove them")
    count = sum(len(weight_files(part, variant=variant)) for part in parts.values())
    if not count:
        return failed(f"{folder} holds no safetensors files: is it complete?")
    return ok(f"{count} safetensors files, no pickles, no code", files=count)


def check_permissions(context: CheckContext) -> CheckResult:
    """Whether this user can read every file, and no other user can change one."""
    if (folder := context.folder) is None:
        return skipped(_NOT_HERE)
    paths = [folder, *sorted(folder.rglob("*"))]
    unreadable = [path for path in paths if not os.access(path, os.R_OK)]
    if unreadable:
        return failed(f"user {os.geteuid()} cannot read {_some(unreadable, folder)}: give it the right to")
    modes = {path: path.stat().st_mode for path in paths}
    open_to_all = [path for path, mode in modes.items() if mode & stat.S_IWOTH]
    if open_to_all:
        return failed(
            f"every user may write to {_some(open_to_all, folder)}, and so change what the model does: "
            f"chmod -R o-w {folder}"
        )
    private = [path for path, mode in modes.items() if path.is_file() and not mode & (stat.S_IRGRP | stat.S_IROTH)]
    if private and os.geteuid() == 0:  # who saves a model as root is the one user that can read it
        return warning(
            f"only their owner can read {_some(private, folder)}: a worker under another user will not start; "
            f"chmod -R a+rX {folder}"
        )
    return ok("readable here, and not writable by others")


def check_revision(context: CheckContext) -> CheckResult:
    """Whether the same settings will always name the same weights."""
    model = context.settings.model
    if not model.source:
        return failed("no model: set IMAGEFLEET_MODEL_SOURCE to a folder or a Hugging Face repository id")
    if not Path(model.source).is_dir():  # settings let no repository pass without one
        return ok(f"{model.source} at the commit {model.revision}", revision=model.revision)
    from imagefleet_worker.diffusion.revision import revision_of  # noqa: PLC0415  # diffusers takes seconds

    revision = revision_of(model)
    if model.revision:
        return warning(
            f"IMAGEFLEET_MODEL_REVISION has no effect on the folder {model.source}: remove it, or name the repository",
            revision=revision,
        )
    return ok(f"a folder; results name its weights as {revision[:19]}...", revision=revision)


def _some(paths: list[Path], folder: Path) -> str:
    names = [str(path.relative_to(folder)) for path in paths[:_SHOWN]]
    more = len(paths) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
