"""What `imagefleet top`, `queues` and `workers` print, wide, narrow and without a terminal."""

import io
import re
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len
from rich.console import Console

from imagefleet import Overview, Queue, RunningJob, Worker, WorkerState
from imagefleet.cli.fleet_tables import duration, in_units, memory_of
from imagefleet.cli.top_screen import Screen, shares

AT = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
GIB = 2**30
JOB = "0b6f1c5e-6d0e-4a9c-9d58-2f9f6c1f0a1{}"


def worker(number: int = 0, *, state: WorkerState = WorkerState.BUSY, jobs: int = 2, **fields: object) -> Worker:
    """A worker with *jobs* jobs."""
    running = [RunningJob(id=JOB.format(index), done=index + 3, total=20) for index in range(jobs)]
    usual = {
        "id": f"id-{number}",
        "name": f"gpu{number}@host",
        "host": "host",
        "pid": 7,
        "state": state,
        "queues": ("imagefleet.sdxl",),
        "model": "sdxl",
        "device": "NVIDIA H200",
        "mode": "merge",
        "held": jobs,
        "jobs": tuple(running),
        "images": 1234,
        "images_per_s": 1.25,
        "busy": 0.934,
        "memory": {"resident": GIB, "reserved": 12 * GIB, "total": 139 * GIB},
        "started_at": AT,
    }
    return Worker.model_validate({**usual, **fields})


def queue(name: str = "imagefleet.sdxl", *, waiting: int = 12, workers: int = 1) -> Queue:
    """A queue with *waiting* messages of the usual priority."""
    spans = {"8-9": 0, "5-7": waiting, "3-4": 0, "1-2": 0, "0": 0}
    return Queue(name=name, waiting=waiting, by_priority=spans, oldest_s=250, running=2, workers=workers)


def overview(*workers: Worker, queues: tuple[Queue, ...] = ()) -> Overview:
    """A fleet of *workers*."""
    return Overview(at=AT, queues=queues or (queue(),), workers=workers, delayed=0, dead_letters=3)


def shown(screen: Screen, *, width: int, is_terminal: bool = True) -> list[str]:
    """The lines that are printed."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=is_terminal, color_system=None, highlight=False)
    console.print(screen)
    return file.getvalue().splitlines()


def test_everything_is_there_where_it_is_wide() -> None:
    text = "\n".join(shown(Screen(overview(worker()), "host:6379/0"), width=140))
    for word in ("host:6379/0", "imagefleet.sdxl", "4m 10s", "NVIDIA H200", "12GiB/139GiB", "1.25", "93%", "3/20"):
        assert word in text
    assert "1 workers (1 busy) · 2 running · 12 waiting · 1.25 images/s · 3 dead letters" in text
    assert "p5-7" in text
    assert "warnings" in text


def test_warnings_of_a_worker_are_counted_where_it_is_wide() -> None:
    (row,) = [each for each in shown(Screen(overview(worker(warnings=17)), "h"), width=140) if "NVIDIA" in each]
    assert " 17 " in row


def test_eighty_columns_hold_what_matters() -> None:
    """No line is longer, and names, ids and numbers are whole."""
    many = [worker(number, jobs=3) for number in range(4)]
    lines = shown(Screen(overview(*many), "redis.internal.example:6379/0", hint=" · every 2s · Ctrl-C"), width=80)
    assert max(map(cell_len, lines)) <= 80
    text = "\n".join(lines)
    for word in (
        JOB.format(2),
        "gpu3@host",
        "imagefleet.sdxl",
        "12GiB/139GiB",
        "93%",
        "5/20",
        "4 workers",
        "3 dead letters",
    ):
        assert word in text


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_narrow_terminal_breaks_nothing(width: int) -> None:
    lines = shown(Screen(overview(worker()), "host:6379/0", lines=24), width=width)
    assert max(map(cell_len, lines)) <= width


def test_without_a_terminal_it_is_plain_text() -> None:
    lines = shown(Screen(overview(worker()), "host:6379/0", bars=False), width=10_000, is_terminal=False)
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "━" not in text
    assert max(len(line.rstrip()) for line in lines) < 120
    assert any(line.split() == [JOB.format(0), "3/20", "gpu0@host"] for line in lines)


def test_a_big_fleet_is_cut_to_the_screen_and_says_so() -> None:
    fleet = overview(
        *(worker(number, jobs=4) for number in range(40)), queues=tuple(queue(f"imagefleet.m{n}") for n in range(9))
    )
    for height in (24, 40, 60):
        lines = shown(Screen(fleet, "host:6379/0", lines=height), width=100)
        assert len(lines) <= height
        assert sum(line.startswith("and ") and "more" in line for line in lines) == (2 if height == 60 else 3)
    assert "and 36 more" in "\n".join(shown(Screen(fleet, "host:6379/0", lines=24), width=100))


def test_what_one_table_does_not_need_the_others_get() -> None:
    assert shares(None, 9, 9, 9) == (None, None, None)
    assert shares(40, 2, 3, 4) == (None, None, None)
    assert shares(40, 1, 2, 100) == (1, 2, 25)
    assert shares(40, 1, 100, 2) == (1, 25, 2)


def test_a_silent_worker_and_a_queue_without_workers_stand_out() -> None:
    seen = overview(worker(state=WorkerState.SILENT, jobs=0, silent_s=75.0), queues=(queue(workers=0),))
    file = io.StringIO()
    Console(file=file, width=120, force_terminal=True, color_system="truecolor").print(Screen(seen, "host"))
    assert re.search(r"\x1b\[1;31m *silent 1m 15s", file.getvalue())
    assert re.search(r"\x1b\[1;31m *0", file.getvalue())


def test_an_outage_is_said_above_the_last_picture() -> None:
    text = "\n".join(shown(Screen(overview(worker()), "host", problem="Redis at host cannot be used: gone"), width=100))
    assert "Redis at host cannot be used: gone" in text
    assert "gpu0@host" in text


def test_names_are_no_markup() -> None:
    seen = overview(worker(name="[red]@[/x]"), queues=(queue("imagefleet.[b]"),))
    text = "\n".join(shown(Screen(seen, "host"), width=120))
    assert "[red]@[/x]" in text
    assert "imagefleet.[b]" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m 0s"),
        (250, "4m 10s"),
        (3600, "1h 0m"),
        (86_399, "23h 59m"),
        (90_000, "1d 1h"),
    ],
)
def test_a_time_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (540 * 2**20, "540MiB"), (2**50, "1024TiB")]
)
def test_bytes_have_the_unit_that_fits(size: int, text: str) -> None:
    assert in_units(size) == text


def test_a_worker_without_a_device_of_its_own_shows_the_memory_of_its_process() -> None:
    assert memory_of(worker(memory={"resident": GIB})) == "1.0GiB"
    assert memory_of(worker(memory={})) == ""
