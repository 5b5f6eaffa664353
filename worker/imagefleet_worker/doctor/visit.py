"""A visit: what `imagefleet-worker doctor` was asked for, the checks, and the report."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from imagefleet_worker import telemetry
from imagefleet_worker.doctor import report
from imagefleet_worker.doctor.checkup import CHECKS, examine
from imagefleet_worker.doctor.subject import Subject
from imagefleet_worker.settings import EngineMode, Settings


class WishImpossible(ValueError):
    """An option has a value that cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
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
            raise WishImpossible(f"no check is called {', '.join(unknown)}; there are {', '.join(CHECKS)}")
        if self.size is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", self.size):
            raise WishImpossible(f"{self.size} is no size: write it as 512x512")

    def chosen(self) -> list[str]:
        """The names of the checks to make."""
        return [name for name in self.only or CHECKS if name not in (self.skip or ())]


def run(settings: Settings, wish: Wish, *, as_json: bool) -> int:
    """Make the checks, print and store the report, and give the exit code: 1 where a check failed.

    Raises:
        WishImpossible: where the folder for results cannot be made.
    """
    telemetry.configure(settings.worker)  # to standard error: the other one is the report's
    _make_folder(wish.out)
    with Console(stderr=True).status("looking") as status, _subject(settings, wish, say=status.update) as subject:
        findings = examine(subject, chosen=wish.chosen())
    text = report.as_json(findings)
    if wish.out:
        (wish.out / report.NAME).write_text(text + "\n")
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
        raise WishImpossible(f"--out {folder}: {error}") from error


def _subject(settings: Settings, wish: Wish, *, say: Callable[[str], None]) -> Subject:
    engine = settings.engine
    own = engine.reproducible_rows if engine.mode is EngineMode.REPRODUCIBLE else engine.max_rows
    return Subject(settings, rows=wish.rows or own, steps=wish.steps, size=wish.size, out=wish.out, say=say)
