"""`imagefleet-worker --devices`: a worker for each device of this machine, for as long as this process lives."""

import argparse
import queue
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from imagefleet_worker import roll, telemetry
from imagefleet_worker.accelerators import chosen_seats
from imagefleet_worker.crew import Crew
from imagefleet_worker.errors import ExitCode, SettingsInvalid
from imagefleet_worker.settings import Settings

OPTION: Final = "--devices"

log = structlog.get_logger(__name__)

_LOOK_EVERY_S: Final = 0.2
_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Options of Celery that are decided here.
_TAKEN: Final = ("-n", "--hostname", "-P", "--pool", "-D", "--detach")


def main(arguments: Sequence[str]) -> int:
    """Run the workers that *arguments* ask for until they have ended, and return the exit code."""
    choice, options = _parse(arguments)
    try:
        settings = Settings.load()
        seats = chosen_seats(choice)
    except SettingsInvalid as error:
        sys.stderr.write(f"imagefleet: {error.message}\n")
        return ExitCode.SETTINGS_INVALID
    telemetry.configure(settings.worker)
    with ExitStack() as stack:
        folder = settings.health.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="imagefleet-"))
        Path(folder).mkdir(parents=True, exist_ok=True)
        crew = Crew(seats, settings=settings, options=options, health=Path(folder))
        _run(crew)
        log.info("all workers have ended", exit_code=crew.exit_code)
    return crew.exit_code


def _parse(arguments: Sequence[str]) -> tuple[str, list[str]]:
    parser = argparse.ArgumentParser(prog="imagefleet-worker", description=__doc__, allow_abbrev=False)
    parser.usage = "imagefleet-worker --devices all|0,1|cpu:4 [-- options of `celery worker`]"
    parser.add_argument(OPTION, required=True, help="all, indexes or ids as CUDA_VISIBLE_DEVICES takes them, or cpu:4")
    words = list(arguments)
    cut = words.index("--") if "--" in words else len(words)
    choice = str(parser.parse_args(words[:cut]).devices)
    options = words[cut + 1 :]
    if taken := [option for option in options if option.partition("=")[0] in _TAKEN]:
        parser.error(f"{', '.join(taken)}: {OPTION} decides that itself")
    return choice, options


def _run(crew: Crew) -> None:
    """Tend *crew* until it is over; signals are heard between two looks."""
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.put(number)

    for number in (*_ENDING, signal.SIGUSR1):
        signal.signal(number, hear)
    while not crew.is_over:
        crew.tend()
        try:
            number = heard.get(timeout=_LOOK_EVERY_S)
        except queue.Empty:
            continue
        if number in _ENDING:
            log.info("draining; the same signal again hands back what runs", signal=signal.Signals(number).name)
            crew.close()
        else:
            sys.stderr.write(f"{roll.as_table(crew.entries())}\n")
    crew.tend()
