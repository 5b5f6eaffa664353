"""`imagefleet top`, `queues` and `workers`: the state of the fleet."""

import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.live import Live

from imagefleet.cli.context import client_for, is_live_terminal, out, print_json, settings_for
from imagefleet.cli.fleet_tables import queue_table, worker_table
from imagefleet.cli.top_screen import Screen
from imagefleet.client import Client
from imagefleet.errors import QueueUnavailable
from imagefleet.store.queue_stats import Overview
from imagefleet.store.redis_url import without_credentials

_LEAST_PAUSE_S: Final = 0.2

Every = Annotated[float, typer.Option(help="Seconds between two refreshes.", min=_LEAST_PAUSE_S)]
Once = Annotated[bool, typer.Option("--once", help="Print the present state once.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything once, as one line of JSON.")]
Lines = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Examples: imagefleet top; imagefleet top --json | jq .dead_letters")(top)
    app.command(epilog="Example: imagefleet queues")(queues)
    app.command(epilog="Example: imagefleet workers --json | jq 'select(.state == \"silent\").name'")(workers)


def top(context: typer.Context, *, every: Every = 2.0, once: Once = False, as_json: AsJson = False) -> None:
    """Show the whole fleet and refresh it: queues, workers, running jobs.

    Ctrl-C ends it. Without a terminal the state is printed once.
    """
    console, place = out(), without_credentials(settings_for(context).url)
    with client_for(context) as client:
        seen = client.overview()
        if as_json:
            print_json(seen.model_dump_json())
        elif once or not is_live_terminal(console):
            console.print(Screen(seen, place, bars=is_live_terminal(console)))
        else:
            try:
                _refresh(client, console, seen, place=place, every_s=every)
            except KeyboardInterrupt:
                return


def queues(context: typer.Context, *, as_json: Lines = False) -> None:
    """Show each queue: waiting jobs by priority, running jobs and workers."""
    with client_for(context) as client:
        _show(client.queues(), queue_table, as_json=as_json)


def workers(context: typer.Context, *, as_json: Lines = False) -> None:
    """Show each worker process: its state, model, device, jobs and speed."""
    with client_for(context) as client:
        _show(client.workers(), worker_table, as_json=as_json)


def _show(found: Sequence[BaseModel], table: Callable[..., RenderableType], *, as_json: bool) -> None:
    if as_json:
        for each in found:
            print_json(each.model_dump_json())
        return
    console = out()
    console.print(table(found, width=console.width))


def _refresh(client: Client, console: Console, seen: Overview, *, place: str, every_s: float) -> None:
    """Redraw the fleet every *every_s* seconds. During an outage of Redis, show the error and the last state."""
    problem, pause = "", threading.Event()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            hint = f" · every {every_s:g}s · Ctrl-C"
            screen = Screen(seen, place, lines=console.height, problem=problem, hint=hint)
            live.update(screen, refresh=True)
            pause.wait(every_s)
            try:
                seen, problem = client.overview(), ""
            except QueueUnavailable as error:
                problem = error.message
