"""Waiting in sight: a bar for each job and one for the whole, or plain lines where nobody watches a terminal."""

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from imagefleet.cli.session import is_watched
from imagefleet.results import JobResult, JobStatus
from imagefleet.snapshots import JobEvent

#: Bars on the screen at a time; the newest stay.
MOST_BARS: Final = 12
_LABEL_WIDTH: Final = 36
_TITLE: Final = "all jobs"
#: Columns of a bar, and of what stands beside bar and label: count, time, status with the time left.
_NARROWEST, _WIDEST, _REST = 8, 40, 35
_LEAST_OF_NEXT: Final = 99
_STYLES: Final = {
    JobStatus.QUEUED: "default",
    JobStatus.RUNNING: "cyan",
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "bold red",
    JobStatus.CANCELED: "yellow",
    JobStatus.EXPIRED: "yellow",
}


class View(Protocol):
    """What shows the events of jobs."""

    def show(self, event: JobEvent) -> None:
        """Show what *event* says."""
        ...


@contextmanager
def view_for(console: Console, labels: Mapping[str, str], *, quiet: bool = False) -> Generator[View, None, None]:
    """Bars on a terminal, lines elsewhere or, if *quiet*, nothing; *labels* are what to call each job, by id."""
    if not is_watched(console):
        yield Silence() if quiet else Lines(console, labels)
        return
    bars = Bars(console, labels)
    with bars.progress:
        yield bars


class Silence:
    """Shows nothing."""

    def show(self, event: JobEvent) -> None:
        """Do nothing with *event*."""


class Lines:
    """One line for each job that has ended."""

    def __init__(self, console: Console, labels: Mapping[str, str]) -> None:
        self._console = console
        self._labels = labels
        self._ended = 0

    def show(self, event: JobEvent) -> None:
        """Say what *event* says, if it is an end."""
        if event.result is None:
            return
        self._ended += 1
        count = f"[{self._ended}/{len(self._labels)}]"
        label = shorten(self._labels[event.id], 60)
        self._console.print(Text(f"{count} {event.status} {event.id} {label}{reason(event.result)}"), soft_wrap=True)


class Bars:
    """Live bars; the terminal keeps their last state."""

    def __init__(self, console: Console, labels: Mapping[str, str]) -> None:
        self._labels = {job_id: shorten(label, _LABEL_WIDTH) for job_id, label in labels.items()}
        self._bars: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        width = min(_LABEL_WIDTH, max(len(_TITLE), *(cell_len(label) for label in self._labels.values())))
        self.progress = Progress(
            TextColumn("{task.description}", table_column=Column(width=width, no_wrap=True)),
            BarColumn(bar_width=max(_NARROWEST, min(_WIDEST, console.width - width - _REST))),
            TextColumn("{task.fields[count]}", table_column=Column(min_width=7, justify="right", no_wrap=True)),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True)),
            console=console,
            refresh_per_second=8,
        )
        count, title = f"0/{len(labels)}", _TITLE if len(labels) > 1 else "1 job"
        self._whole = self.progress.add_task(title, total=len(labels), count=count, state="")

    def show(self, event: JobEvent) -> None:
        """Move the bars to where *event* says."""
        if event.status is JobStatus.QUEUED:
            return
        bar = self._bars[event.id] if event.id in self._bars else self._add(event.id)
        left = "" if event.left_s is None else f", {about(event.left_s)} left"
        state = escape(f"{event.status}{left}{reason(event.result)}")
        style = _STYLES[event.status]
        self.progress.update(bar, state=f"[{style}]{state}[/]")
        if event.progress:
            done, total = event.progress
            self.progress.update(bar, completed=done, total=total, count=f"{done}/{total}")
        if event.result is not None:
            self._end(event.id, bar, succeeded=event.status is JobStatus.SUCCEEDED)

    def _add(self, job_id: str) -> TaskID:
        if len(self._bars) >= MOST_BARS:
            oldest = next((each for each in self._bars if each in self._ended), next(iter(self._bars)))
            self.progress.remove_task(self._bars.pop(oldest))
        self._bars[job_id] = self.progress.add_task(escape(self._labels[job_id]), total=None, count="", state="")
        return self._bars[job_id]

    def _end(self, job_id: str, bar: TaskID, *, succeeded: bool) -> None:
        total = next(task.total for task in self.progress.tasks if task.id == bar) or 1
        if succeeded:
            self.progress.update(bar, completed=total, total=total)
        else:
            self.progress.update(bar, total=total)  # a bar without a total would go on pulsing
        self.progress.stop_task(bar)
        self._ended.add(job_id)
        count = f"{len(self._ended)}/{len(self._labels)}"
        self.progress.update(self._whole, completed=len(self._ended), count=count)


def reason(result: JobResult | None) -> str:
    """Why a job has no images, as the end of a line; empty for one that has."""
    return f": {result.error.message}" if result and result.error else ""


def about(seconds: float) -> str:
    """A time that is only estimated, in one unit and at most two digits: `12s`, `3m`, `2h`."""
    if seconds < _LEAST_OF_NEXT:
        return f"{math.ceil(seconds)}s"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < _LEAST_OF_NEXT else f"{round(minutes / 60)}h"


def shorten(text: str, width: int) -> str:
    """*text* on one line of at most *width* characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
