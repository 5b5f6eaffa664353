"""`imagefleet top`, `queues` and `workers`: what the fleet does now."""

import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.live import Live

from imagefleet.cli.screen import Screen
from imagefleet.cli.session import client_for, is_watched, out, print_json, settings_for
from imagefleet.cli.tables import queue_table, worker_table
from imagefleet.client import Client
from imagefleet.endpoints import where
from imagefleet.errors import QueueUnavailable
from imagefleet.overview import Overview

_LEAST_PAUSE_S: Final = 0.2

Every = Annotated[float, typer.Option(help="Seconds between two looks.", min=_LEAST_PAUSE_S)]
Once = Annotated[bool, typer.Option("--once", help="Print what is so now, and end.")]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON with everything, and end.")]
Lines = Annotated[bool, typer.Option("--json", help="One line of JSON for each.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Examples: imagefleet top; imagefleet top --json | jq .dead_letters")(top)
    app.command(epilog="Example: imagefleet queues")(queues)
    app.command(epilog="Example: imagefleet workers --json | jq 'select(.state == \"silent\").name'")(workers)


def top(context: typer.Context, *, every: Every = 2.0, once: Once = False, as_json: AsJson = False) -> None:
    """Watch the whole fleet: queues, workers, running jobs.

    Ctrl-C ends it. Without a terminal it is printed once.
    """
    console, place = out(), where(settings_for(context).url)
    with client_for(context) as client:
        seen = client.overview()
        if as_json:
            print_json(seen.model_dump_json())
        elif once or not is_watched(console):
            console.print(Screen(seen, place, bars=is_watched(console)))
        else:
            try:
                _refresh(client, console, seen, place=place, every_s=every)
            except KeyboardInterrupt:
                return


def queues(context: typer.Context, *, as_json: Lines = False) -> None:
    """Show what waits in each queue, and how many work on it."""
    with client_for(context) as client:
        _show(client.queues(), queue_table, as_json=as_json)


def workers(context: typer.Context, *, as_json: Lines = False) -> None:
    """Show every worker process: its state, model and device, and what it does."""
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
    """Draw the fleet again and again; where Redis goes away meanwhile, say so and go on."""
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
