"""Tables of queues, workers and running jobs, with more columns on a wider terminal."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from imagefleet.contract.queues import PRIORITY_SPANS
from imagefleet.store.queue_stats import Queue
from imagefleet.store.worker_registry import RunningJob, Worker, WorkerState

#: Tables show all their columns on terminals of at least this width.
WIDE: Final = 110
_STYLES: Final = {
    WorkerState.LOADING: "yellow",
    WorkerState.READY: "green",
    WorkerState.BUSY: "cyan",
    WorkerState.DRAINING: "yellow",
    WorkerState.SILENT: "bold red",
}
#: The length of ids that clients make; longer ids may be cut.
_ID_WIDTH: Final = 36
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024


def queue_table(queues: Sequence[Queue], *, width: int, most: int | None = None) -> Table:
    """A row for each queue, with its jobs by priority; at most *most* rows."""
    spans = [_number(f"p{span}") for span in PRIORITY_SPANS] if width >= WIDE else []
    table = _table(
        _name("queue"), _number("waiting"), *spans, *map(_number, ("oldest", "delayed", "running", "workers"))
    )
    for queue in islice(queues, most):
        levels = [str(queue.by_priority.get(span, 0)) for span in PRIORITY_SPANS] if spans else []
        oldest = "" if queue.oldest_s is None else duration(queue.oldest_s)
        lonely = "bold red" if queue.waiting and not queue.workers else ""
        delayed = f"{queue.delayed} ({queue.due} due)" if queue.due else str(queue.delayed or "")
        cells = (str(queue.waiting), *levels, oldest, delayed, str(queue.running))
        table.add_row(Text(queue.name), *map(Text, cells), Text(str(queue.workers), style=lonely))
    return _cut(table, len(queues), most)


def worker_table(workers: Sequence[Worker], *, width: int, most: int | None = None) -> Table:
    """A row for each worker; at most *most* rows."""
    is_wide = width >= WIDE
    wide = [_name("device"), _name("mode"), _number("images"), _number("warnings")] if is_wide else []
    numbers = map(_number, ("jobs", "images/s", "busy", "memory"))
    table = _table(_name("worker"), _state(), _name("model"), *wide, *numbers)
    for worker in islice(workers, most):
        more = (worker.device or "", _mode(worker), str(worker.images), str(worker.warnings or "")) if is_wide else ()
        makes_images = worker.model is not None
        rate, busy = (f"{worker.images_per_s:.2f}", f"{worker.busy:.0%}") if makes_images else ("", "")
        table.add_row(
            Text(worker.name),
            Text(state_of(worker), style=_STYLES[worker.state]),
            *map(Text, (worker.model or "webhooks", *more, str(worker.running), rate, busy, memory_of(worker))),
        )
    return _cut(table, len(workers), most)


def job_table(workers: Iterable[Worker], *, width: int, bars: bool, most: int | None = None) -> Table:
    """A row for each running job, with its progress; *bars* draws progress bars, which need colors."""
    running = [(job, worker) for worker in workers for job in worker.jobs]
    bar_width = 30 if width >= WIDE else 12
    drawn = [Column("progress", width=bar_width)] if bars else []
    longest = max((len(job.id) for job, _ in islice(running, most)), default=0)
    name = Column("job", no_wrap=True, overflow="ellipsis", min_width=min(longest, _ID_WIDTH))
    table = _table(name, *drawn, _number("steps"), _name("worker"))
    for job, worker in islice(running, most):
        bar: list[RenderableType] = [_bar(job, width=bar_width)] if bars else []
        steps = f"{job.done}/{job.total}" if job.total else ""
        table.add_row(Text(job.id), *bar, Text(steps), Text(worker.name))
    return _cut(table, len(running), most)


def state_of(worker: Worker) -> str:
    """The state of *worker*, with the time since the last heartbeat if it is silent."""
    return f"silent {duration(worker.silent_s)}" if worker.state is WorkerState.SILENT else worker.state.value


def memory_of(worker: Worker) -> str:
    """The memory of the device that *worker* holds, or of the machine if it has no device of its own."""
    sizes = worker.memory
    if "total" in sizes:
        return f"{in_units(sizes.get('reserved', 0))}/{in_units(sizes['total'])}"
    return in_units(sizes["resident"]) if "resident" in sizes else ""


def in_units(size: float) -> str:
    """*size* bytes in the unit that leaves at most four digits, such as `1.5GiB`."""
    step = 0
    while size >= _STEP and step + 1 < len(_UNITS):
        size, step = size / _STEP, step + 1
    digits = 1 if step and size < 10 else 0  # noqa: PLR2004  # a second digit
    return f"{size:.{digits}f}{_UNITS[step]}"


def duration(seconds: float) -> str:
    """A duration in its two largest units, such as `4m 10s`."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d {h}h"
    if hours:
        return f"{hours}h {m}m"
    return f"{minutes}m {s}s" if minutes else f"{s}s"


def _bar(job: RunningJob, *, width: int) -> ProgressBar:
    return ProgressBar(total=job.total or 1, completed=job.done, width=width)


def _table(*columns: Column) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def _name(title: str) -> Column:
    return Column(title, no_wrap=True, overflow="ellipsis")


def _state() -> Column:
    return Column("state", no_wrap=True, min_width=8)


def _number(title: str) -> Column:
    return Column(title, no_wrap=True, justify="right")


def _cut(table: Table, rows: int, most: int | None) -> Table:
    if most is not None and rows > most:
        table.add_row(Text(f"and {rows - most} more", style="dim"))
    return table


def _mode(worker: Worker) -> str:
    """The mode, and whether joining was refused at the start."""
    refused = (worker.joining or "").startswith("refused")
    return f"{worker.mode or ''}{' (joining refused)' if refused else ''}"
