"""`imagefleet status`, `result` and `cancel`: one job or several, by id."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from imagefleet.cli.bars import reason, shorten, view_for
from imagefleet.cli.exits import Exit
from imagefleet.cli.options import Json, Timeout, Wait
from imagefleet.cli.rows import print_rows
from imagefleet.cli.session import client_for, err, out, print_json
from imagefleet.client import Client
from imagefleet.errors import InvalidJob, ResultTimeout
from imagefleet.outlook import Outlook
from imagefleet.results import JobResult, JobStatus
from imagefleet.snapshots import Snapshot

Ids = Annotated[list[str], typer.Argument(help="Job ids.", show_default=False)]
SomeIds = Annotated[list[str] | None, typer.Argument(help="Job ids.", show_default=False)]
Group = Annotated[str | None, typer.Option(help="All jobs of this group that have not ended.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: imagefleet status 0b6f1c5e-6d0e-4a9c-9d58-2f9f6c1f0a11")(status)
    app.command(epilog="Example: imagefleet result --wait --timeout 600 --json 0b6f1c5e-6d0e-4a9c-9d58-2f9f6c1f0a11")(
        result
    )
    app.command(
        epilog="Examples: imagefleet cancel 0b6f1c5e-6d0e-4a9c-9d58-2f9f6c1f0a11; imagefleet cancel --group calendar"
    )(cancel)


def status(context: typer.Context, ids: Ids, *, as_json: Json = False) -> None:
    """Show where jobs are."""
    with client_for(context) as client:
        if as_json:
            for job_id in ids:
                print_json(_as_json(client.get(job_id), client.outlook(job_id)))
            return
        snapshots = [client.get(job_id) for job_id in ids]
    titles = ("job", "status", "progress", "attempts", "worker", "queued", "started", "ended")
    print_rows(out(), titles, map(_cells, snapshots))


def result(
    context: typer.Context,
    ids: Ids,
    *,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Show how jobs ended."""
    with client_for(context) as client:
        results = wait_for(client, dict.fromkeys(ids, ""), timeout) if wait else _ended(client, ids)
    for each in results:
        if as_json:
            print_json(each.model_dump_json())
    if not as_json:
        print_results(out(), results, labels={})
    if any(each.status is not JobStatus.SUCCEEDED for each in results):
        raise typer.Exit(Exit.JOB_FAILED)


def cancel(context: typer.Context, ids: SomeIds = None, *, group: Group = None, as_json: Json = False) -> None:
    """Cancel jobs: queued ones at once, running ones as soon as their worker notices."""
    if not ids and group is None:
        raise InvalidJob("nothing to cancel: give job ids, or --group (see imagefleet cancel --help)")
    with client_for(context) as client:
        if group is not None:
            _cancel_group(client, group, as_json=as_json)
        for job_id in ids or []:
            now = client.cancel(job_id)
            if as_json:
                print_json({"id": job_id, "status": now.value})
            else:
                said = {JobStatus.CANCELED: "canceled", JobStatus.RUNNING: "asked to stop"}
                typer.echo(f"{job_id} {said.get(now, f'had already {now}')}")


def _cancel_group(client: Client, group: str, *, as_json: bool) -> None:
    now = client.cancel_group(group)
    if as_json:
        print_json({"group": group, **now._asdict()})
    else:
        typer.echo(f"{group}: {now.canceled:,} canceled, {now.stopping:,} asked to stop")


def print_results(console: Console, results: list[JobResult], *, labels: dict[str, str]) -> None:
    """A table of *results*; *labels* are their prompts by id, where known."""
    rows: list[tuple[str, ...]] = []
    for each in results:
        stored = "\n".join(artifact.uri for artifact in each.artifacts) or reason(each).removeprefix(": ")
        job = f"{each.id}\n{shorten(labels[each.id], 36)}" if each.id in labels else each.id
        seconds = f"{each.timings.generate_s:.1f}" if each.artifacts else ""
        rows.append((job, each.status.value, seconds, each.worker or "", stored))
    print_rows(console, ("job", "status", "seconds", "worker", "images"), rows)


def wait_for(
    client: Client,
    labels: Mapping[str, str],
    timeout_s: float | None,
    *,
    quiet: bool = False,
    at_end: Callable[[JobResult], None] = lambda _: None,
) -> list[JobResult]:
    """Show progress on standard error until all jobs have ended; return the results in the order of *labels*.

    *at_end* is called with each result as it comes; *quiet* shows nothing unless there is a terminal.
    """
    results: dict[str, JobResult] = {}
    console = err()
    names = {job_id: label or job_id for job_id, label in labels.items()}
    with view_for(console, names, quiet=quiet) as view:
        for event in client.events(labels, timeout_s):
            view.show(event)
            if event.result is not None:
                results[event.id] = event.result
                at_end(event.result)
    return [results[job_id] for job_id in labels]


def _ended(client: Client, ids: Sequence[str]) -> list[JobResult]:
    snapshots = [client.get(job_id) for job_id in ids]
    for snapshot in snapshots:
        if snapshot.result is None:
            raise ResultTimeout(f"job {snapshot.id} is {snapshot.status}; --wait waits until it has ended")
    return [snapshot.result for snapshot in snapshots if snapshot.result is not None]


def _as_json(snapshot: Snapshot, ahead: Outlook) -> dict[str, Any]:
    times = {name: getattr(snapshot, name) for name in ("queued_at", "started_at", "ended_at")}
    return {
        "id": snapshot.id,
        "status": snapshot.status.value,
        "progress": snapshot.progress._asdict() if snapshot.progress else None,
        "model": snapshot.model,
        "attempts": snapshot.attempts,
        "worker": snapshot.worker,
        **{name: moment.isoformat() if moment else None for name, moment in times.items()},
        "cancel_requested": snapshot.cancel_requested,
        "position": ahead.position,
        "images_per_s": ahead.images_per_s,
        "eta_s": ahead.eta_s,
    }


def _cells(snapshot: Snapshot) -> tuple[str, ...]:
    times = [_clock(moment) for moment in (snapshot.queued_at, snapshot.started_at, snapshot.ended_at)]
    progress = "{}/{}".format(*snapshot.progress) if snapshot.progress else ""
    stopping = " (asked to stop)" if snapshot.cancel_requested else ""
    state = f"{snapshot.status}{stopping}"
    return (snapshot.id, state, progress, str(snapshot.attempts), snapshot.worker or "", *times)


def _clock(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else ""
