"""A worker that owns several devices; `python -m imagefleet_worker.group --help`."""

import argparse
import sys
from collections.abc import Sequence

from imagefleet_worker.accelerators import cuda_devices
from imagefleet_worker.errors import EXIT_CODES, ExitCode, SettingsInvalid
from imagefleet_worker.group.places import Place
from imagefleet_worker.group.plans import Plan
from imagefleet_worker.group.ranks import Ranks
from imagefleet_worker.precautions import take_precautions
from imagefleet_worker.settings import GroupKind, Settings, settings


def main() -> int:
    """Be the rank that the environment says, or start all ranks where it says none.

    Returns:
        The exit code.
    """
    size, arguments = _parse(sys.argv[1:])
    try:
        values, place = settings(), Place.here()
        if values.group.kind is GroupKind.BALANCED:
            return _balance(place, arguments)
        ranks = place.size if place else size or values.group.size or len(cuda_devices())
        Plan.of(values, size=ranks)
        if place is None:
            return Ranks(ranks, arguments).run()
        return _lead(arguments) if place.is_leader else _follow(values, place)
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


def _balance(place: Place | None, arguments: Sequence[str]) -> int:
    if place is not None and place.size > 1:
        raise SettingsInvalid("IMAGEFLEET_GROUP_KIND=balanced is one process: start it without a launcher")
    return _lead(arguments)


def _lead(arguments: Sequence[str]) -> int:
    from celery.__main__ import main as celery  # noqa: PLC0415  # only the leader needs it

    sys.argv[:] = ["celery", "-A", "imagefleet_worker.app", "worker", *arguments]
    celery()
    return ExitCode.OK


def _follow(values: Settings, place: Place) -> int:
    take_precautions(values.model)
    from imagefleet_worker import telemetry  # noqa: PLC0415  # only followers need it here
    from imagefleet_worker.group.opening import open_follower  # noqa: PLC0415  # imports torch

    telemetry.configure(values.worker)
    try:
        open_follower(values, place).run()
    except tuple(EXIT_CODES) as error:
        return _fail(EXIT_CODES[type(error)], error.message)


def _fail(code: ExitCode, sentence: str) -> int:
    sys.stderr.write(f"imagefleet: {sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
