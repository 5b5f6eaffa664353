"""`imagefleet watch`: shows jobs until they have ended."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from imagefleet.cli.context import client_for, err, is_live_terminal, out, print_json
from imagefleet.cli.exit_codes import ExitCode
from imagefleet.cli.formats import about, reason
from imagefleet.cli.jobs import Ids
from imagefleet.cli.options import Timeout
from imagefleet.cli.progress_view import MOST_BARS, Bars
from imagefleet.cli.waits import Waits
from imagefleet.client import Client
from imagefleet.client.outlook import Outlook
from imagefleet.client.snapshots import JobEvent
from imagefleet.contract.results import JobStatus

AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each event, progress included.")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: imagefleet watch 0b6f1c5e-6d0e-4a9c-9d58-2f9f6c1f0a11")(watch)


def watch(
    context: typer.Context,
    ids: Ids,
    *,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Show jobs until they have ended: bars on a terminal, elsewhere a line for each change of status."""
    console = out()
    wanted = list(dict.fromkeys(ids))
    with client_for(context) as client:
        events = client.events(wanted, timeout)
        try:
            shown = _shown(events, wanted, console, client, as_json=as_json)
            ended = [event for event in shown if event.result]
        except KeyboardInterrupt as error:
            err().print("The jobs go on; imagefleet cancel ends them", markup=False)
            raise typer.Exit(ExitCode.INTERRUPTED) from error
    if any(event.status is not JobStatus.SUCCEEDED for event in ended):
        raise typer.Exit(ExitCode.JOB_FAILED)


def _shown(
    events: Iterable[JobEvent], ids: Sequence[str], console: Console, client: Client, *, as_json: bool
) -> Iterable[JobEvent]:
    """Show *events*, and yield each after that."""
    if as_json:
        return _as_lines_of_json(events)
    if is_live_terminal(console):
        return _as_bars(events, ids, console, client)
    look = client.outlook if len(ids) <= MOST_BARS else None  # two round trips for each that waits
    return _as_lines(events, console, look)


def _as_bars(events: Iterable[JobEvent], ids: Sequence[str], console: Console, client: Client) -> Iterable[JobEvent]:
    bars = Bars(console, {job_id: job_id for job_id in ids})
    waits = Waits(client.outlook)
    reasons: list[str] = []
    with bars.progress:
        for event in events:
            waits.note(event)
            bars.show(event)
            reasons += [f"{event.id} {event.status}{reason(event.result)}"] if reason(event.result) else []
            yield event
    for line in reasons:  # the bars have room for their beginning only
        console.print(line, markup=False)


def _as_lines(
    events: Iterable[JobEvent], console: Console, look: Callable[[str], Outlook] | None
) -> Iterable[JobEvent]:
    last: dict[str, JobStatus] = {}
    for event in events:
        if last.get(event.id) is not event.status:
            last[event.id] = event.status
            ahead = _ahead(look(event.id)) if look and event.status is JobStatus.QUEUED else ""
            console.print(Text(f"{event.id} {event.status}{ahead}{reason(event.result)}"), soft_wrap=True)
        yield event


def _ahead(seen: Outlook) -> str:
    """The position and the remaining time of a queued job, as the end of a line; empty once it runs."""
    if seen.status is not JobStatus.QUEUED:
        return ""
    place = "" if seen.position is None else f", number {seen.position:,} in the queue"
    left = "" if seen.eta_s is None else f", about {about(seen.eta_s)}"
    return f"{place}{left}" + (f": {seen.reason}" if seen.reason else "")


def _as_lines_of_json(events: Iterable[JobEvent]) -> Iterable[JobEvent]:
    for event in events:
        print_json(_as_mapping(event))
        yield event


def _as_mapping(event: JobEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "status": event.status.value,
        "progress": event.progress._asdict() if event.progress else None,
        "left_s": event.left_s,
        "result": event.result.model_dump(mode="json") if event.result else None,
    }
