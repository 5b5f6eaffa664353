"""A visit: what `imagefleet-worker doctor` was asked for, the checks, and the report."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from imagefleet_worker.doctor import report
from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.doctor.registry import CHECKS, run_checks
from imagefleet_worker.observability import logs
from imagefleet_worker.settings import EngineMode, Settings


class InvalidOptions(ValueError):
    """An option has a value that cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """The options of the command; None is the default."""

    only: list[str] | None = None
    skip: list[str] | None = None
    rows: int | None = None
    steps: int | None = None
    size: str | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        unknown = sorted({*(self.only or ()), *(self.skip or ())} - set(CHECKS))
        if unknown:
            raise InvalidOptions(f"no check is called {', '.join(unknown)}; there are {', '.join(CHECKS)}")
        if self.size is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.size):
            raise InvalidOptions(f"{self.size} is no size: write it as 512x512")

    def chosen(self) -> list[str]:
        """The names of the checks to make."""
        return [name for name in self.only or CHECKS if name not in (self.skip or ())]


def run(settings: Settings, options: DoctorOptions, *, as_json: bool) -> int:
    """Make the checks, print and store the report, and give the exit code: 1 where a check failed.

    Raises:
        InvalidOptions: where the folder for results cannot be made.
    """
    logs.configure(settings.worker)  # to standard error: the other one is the report's
    _make_folder(options.out)
    with Console(stderr=True).status("looking") as status, _context(settings, options, say=status.update) as context:
        findings = run_checks(context, chosen=options.chosen())
    text = report.as_json(findings)
    if options.out:
        (options.out / report.NAME).write_text(text + "\n")
    if as_json:
        sys.stdout.write(text + "\n")
    else:
        report.as_table(findings, Console())
    return 0 if report.is_healthy(findings) else 1


def _make_folder(folder: Path | None) -> None:
    try:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidOptions(f"--out {folder}: {error}") from error


def _context(settings: Settings, options: DoctorOptions, *, say: Callable[[str], None]) -> CheckContext:
    engine = settings.engine
    own = engine.reproducible_rows if engine.mode is EngineMode.REPRODUCIBLE else engine.max_rows
    return CheckContext(
        settings, rows=options.rows or own, steps=options.steps, size=options.size, out=options.out, say=say
    )
