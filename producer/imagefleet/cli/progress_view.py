"""Shows progress: a bar for each job and one for all of them, or plain lines without a terminal."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from imagefleet.cli.context import is_live_terminal
from imagefleet.cli.formats import about, count_of_warnings, reason, shorten
from imagefleet.client.snapshots import JobEvent
from imagefleet.contract.results import JobStatus

#: The largest number of bars on the screen; the newest stay.
MOST_BARS: Final = 12
_LABEL_WIDTH: Final = 36
_TITLE: Final = "all jobs"
#: Columns of a bar (narrowest, widest), and of the count, the time and the status beside bar and label.
_NARROWEST, _WIDEST, _REST = 8, 40, 35
_COUNT_AND_TIME: Final = 18  # with the spaces between all columns
_STYLES: Final = {
    JobStatus.QUEUED: "default",
    JobStatus.RUNNING: "cyan",
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "bold red",
    JobStatus.CANCELED: "yellow",
    JobStatus.EXPIRED: "yellow",
}


class View(Protocol):
    """Shows the events of jobs."""

    def show(self, event: JobEvent) -> None:
        """Show *event*."""
        ...


@contextmanager
def view_for(console: Console, labels: Mapping[str, str], *, quiet: bool = False) -> Generator[View, None, None]:
    """Bars on a terminal; elsewhere lines, or nothing if *quiet*. *labels* are the names to show, by job id."""
    if not is_live_terminal(console):
        yield Silence() if quiet else Lines(console, labels)
        return
    bars = Bars(console, labels)
    with bars.progress:
        yield bars


class Silence:
    """Shows nothing."""

    def show(self, event: JobEvent) -> None:
        """Ignore *event*."""


class Lines:
    """One line for each job that has ended."""

    def __init__(self, console: Console, labels: Mapping[str, str]) -> None:
        self._console = console
        self._labels = labels
        self._ended = 0

    def show(self, event: JobEvent) -> None:
        """Print a line if *event* is an end."""
        if event.result is None:
            return
        self._ended += 1
        count = f"[{self._ended}/{len(self._labels)}]"
        label = shorten(self._labels[event.id], 60)
        end = f"{reason(event.result)}{count_of_warnings(event.result)}"
        self._console.print(Text(f"{count} {event.status} {event.id} {label}{end}"), soft_wrap=True)


class Bars:
    """Live bars; their last state stays on the terminal."""

    def __init__(self, console: Console, labels: Mapping[str, str]) -> None:
        self._labels = {job_id: shorten(label, _LABEL_WIDTH) for job_id, label in labels.items()}
        self._bars: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        width = min(_LABEL_WIDTH, max(len(_TITLE), *(cell_len(label) for label in self._labels.values())))
        #: For the state: what bar, count and time leave at their narrowest. The whole sentence comes after the bars.
        self._room = max(len(JobStatus.SUCCEEDED), console.width - width - _NARROWEST - _COUNT_AND_TIME)
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
        """Update the bars after *event*."""
        if event.status is JobStatus.QUEUED:
            return
        bar = self._bars[event.id] if event.id in self._bars else self._add(event.id)
        left = "" if event.left_s is None else f", {about(event.left_s)} left"
        state = f"{event.status}{left}{count_of_warnings(event.result)}{reason(event.result)}"
        style = _STYLES[event.status]
        self.progress.update(bar, state=f"[{style}]{escape(shorten(state, self._room))}[/]")
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
        total = next(task.total for task in self.progress.tasks if task.id == bar)
        if not succeeded:
            self.progress.update(bar, total=total or 1)  # a bar without a total would go on pulsing
        elif total:  # the last report of progress is older than the last step
            self.progress.update(bar, completed=total, count=f"{int(total)}/{int(total)}")
        else:
            self.progress.update(bar, completed=1, total=1)
        self.progress.stop_task(bar)
        self._ended.add(job_id)
        count = f"{len(self._ended)}/{len(self._labels)}"
        self.progress.update(self._whole, completed=len(self._ended), count=count)
