"""The screen of `imagefleet top`: the overview of the fleet, cut to the size of the terminal."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from imagefleet.cli.fleet_tables import WIDE, job_table, queue_table, worker_table
from imagefleet.store.queue_stats import Overview

#: Lines besides rows: the head, the totals, three headers of tables and the empty lines between.
_FIXED_LINES: Final = 9
_FEWEST_ROWS: Final = 3


@dataclass(frozen=True, slots=True)
class Screen:
    """An overview to print, on at most *lines* lines; None: any number."""

    overview: Overview
    #: The address of Redis, without a password.
    place: str
    lines: int | None = None
    bars: bool = True
    #: Why the overview is out of date; empty if it is not.
    problem: str = ""
    hint: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The head, the totals and the tables."""
        seen, width = self.overview, options.max_width
        queues, workers, jobs = shares(
            self.lines, len(seen.queues), len(seen.workers), sum(len(each.jobs) for each in seen.workers)
        )
        yield self._head(console)
        yield Text(totals(seen, in_detail=width >= WIDE), overflow="ellipsis", no_wrap=True)
        if self.problem:
            yield Text(self.problem, style="bold red", overflow="ellipsis", no_wrap=True)
        yield ""
        yield queue_table(seen.queues, width=width, most=queues)
        yield ""
        yield worker_table(seen.workers, width=width, most=workers)
        if any(each.jobs for each in seen.workers):
            yield ""
            yield job_table(seen.workers, width=width, bars=self.bars, most=jobs)

    def _head(self, console: Console) -> Table | Text:
        at = f"{self.overview.at.astimezone():%Y-%m-%d %H:%M:%S}"
        if not console.is_terminal:
            return Text(f"imagefleet {self.place} {at}")
        head = Table.grid(expand=True)
        head.add_column(no_wrap=True, overflow="ellipsis")
        head.add_column(justify="right", no_wrap=True)
        head.add_row(Text.assemble(("imagefleet ", "bold"), self.place), Text(f"{at}{self.hint}", style="dim"))
        return head


def totals(seen: Overview, *, in_detail: bool) -> str:
    """The totals of the fleet in one line; *in_detail* with the states of its workers."""
    states = Counter(worker.state.value for worker in seen.workers)
    detail = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    running = sum(queue.running for queue in seen.queues)
    waiting = sum(queue.waiting for queue in seen.queues)
    parts = [
        f"{len(seen.workers)} workers" + (f" ({detail})" if detail and in_detail else ""),
        f"{running} running",
        f"{waiting} waiting",
        f"{seen.images_per_s:.2f} images/s",
        f"{seen.dead_letters} dead letters",
    ]
    if seen.delayed:
        parts.insert(3, f"{seen.delayed} delayed")
    return " · ".join(parts)


def shares(lines: int | None, queues: int, workers: int, jobs: int) -> tuple[int | None, int | None, int | None]:
    """The rows of each kind that fit into *lines*; None if all do. Spare rows of one kind go to the others."""
    if lines is None or queues + workers + jobs + _FIXED_LINES <= lines:
        return None, None, None
    room = max(lines - _FIXED_LINES - 3, 3 * _FEWEST_ROWS)  # each table that is cut says so in a line
    for_queues = min(queues, max(_FEWEST_ROWS, room // 4, room - workers - jobs))
    for_workers = min(workers, max(_FEWEST_ROWS, (room - for_queues) // 2, room - for_queues - jobs))
    return for_queues, for_workers, min(jobs, max(_FEWEST_ROWS, room - for_queues - for_workers))
