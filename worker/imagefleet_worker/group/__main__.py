"""A worker that owns several devices; `python -m imagefleet_worker.group --help`."""

import argparse
import sys
from collections.abc import Sequence

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.exit_codes import EXIT_CODES, ExitCode
from imagefleet_worker.supervision.celery_command import celery_arguments
from imagefleet_worker.supervision.requirements import INSTALL_WORKER, WORKER, end_for_missing, missing

try:
    from imagefleet_worker.diffusion.environment import restrict_huggingface
    from imagefleet_worker.group.launcher import Launcher
    from imagefleet_worker.group.parallel_plan import ParallelPlan
    from imagefleet_worker.group.rank import Rank
    from imagefleet_worker.hardware.discovery import cuda_devices
    from imagefleet_worker.settings import GroupKind, Settings, settings
except ModuleNotFoundError as error:
    end_for_missing(error, "python -m imagefleet_worker.group")


def main() -> int:
    """Be the rank that the environment says, or start all ranks where it says none.

    Returns:
        The exit code.
    """
    size, arguments = _parse(sys.argv[1:])
    if packages := missing(WORKER):
        sys.exit(f"imagefleet: device groups need {', '.join(packages)}: {INSTALL_WORKER}")
    try:
        values, rank = settings(), Rank.here()
        if values.group.kind is GroupKind.BALANCED:
            return _balance(rank, arguments)
        ranks = rank.size if rank else size or values.group.size or len(cuda_devices())
        ParallelPlan.of(values, size=ranks)
        if rank is None:
            return Launcher(ranks, arguments).run()
        return _lead(arguments) if rank.is_leader else _follow(values, rank)
    except SettingsInvalid as error:
        return _fail(ExitCode.SETTINGS_INVALID, error.message)


def _parse(arguments: Sequence[str]) -> tuple[int | None, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m imagefleet_worker.group",
        description="A worker that owns several devices, as the IMAGEFLEET_GROUP_* variables say. It starts a process "
        "for each device, or is one of them under torchrun and accelerate launch. All else goes to `celery worker`.",
    )
    parser.add_argument("--size", type=int, help="devices; else IMAGEFLEET_GROUP_SIZE, else one for each CUDA device")
    known, others = parser.parse_known_args(arguments)
    return known.size, others


def _balance(rank: Rank | None, arguments: Sequence[str]) -> int:
    if rank is not None and rank.size > 1:
        raise SettingsInvalid("IMAGEFLEET_GROUP_KIND=balanced is one process: start it without a launcher")
    return _lead(arguments)


def _lead(arguments: Sequence[str]) -> int:
    from celery.__main__ import main as celery  # noqa: PLC0415  # only the leader needs it

    sys.argv[:] = celery_arguments(arguments)
    celery()
    return ExitCode.OK


def _follow(values: Settings, rank: Rank) -> int:
    restrict_huggingface(values.model)
    from imagefleet_worker.group.startup import open_follower  # noqa: PLC0415  # imports torch
    from imagefleet_worker.observability import logs  # noqa: PLC0415  # only followers need it here

    logs.configure(values.worker)
    try:
        open_follower(values, rank).run()
    except tuple(EXIT_CODES) as error:
        return _fail(EXIT_CODES[type(error)], error.message)


def _fail(code: ExitCode, sentence: str) -> int:
    sys.stderr.write(f"imagefleet: {sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
