"""`imagefleet status`, `result` and `cancel`, for jobs by id."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.console import Console

from imagefleet.cli.context import client_for, err, out, print_json
from imagefleet.cli.exit_codes import ExitCode, exit_code_for
from imagefleet.cli.formats import count_of_warnings, fate_of, moment, reason, shorten, warnings_of
from imagefleet.cli.options import Json, Timeout, Urls, Wait
from imagefleet.cli.progress_view import view_for
from imagefleet.cli.record_table import print_rows
from imagefleet.cli.waits import Waits
from imagefleet.client import Client
from imagefleet.client.outlook import Outlook
from imagefleet.client.snapshots import Snapshot
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.errors import ImageFleetError, InvalidJob, JobNotFound, ResultTimeout, complain

T = TypeVar("T")
Ids = Annotated[list[str], typer.Argument(help="Job ids.", show_default=False)]
SomeIds = Annotated[list[str] | None, typer.Argument(help="Job ids.", show_default=False)]
#: By URI, the files that images were downloaded to.
NOTHING_SAVED: Final[Mapping[str, Path]] = {}
Group = Annotated[str | None, typer.Option(help="Cancel all jobs of this group that have not ended.")]


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
    """Show the status of jobs."""
    with client_for(context) as client:
        snapshots, errors = _each(ids, client.get)
        if as_json:
            for each in snapshots:
                print_json(_as_json(each, client.outlook(each.id)))
        else:
            waiting = [client.outlook(each.id) for each in snapshots if each.status is JobStatus.QUEUED]
            _print(snapshots, waiting)
    _fail_with(errors)


def _print(snapshots: Sequence[Snapshot], waiting: Sequence[Outlook]) -> None:
    if not snapshots:
        return
    titles = ("job", "status", "progress", "attempts", "worker", "queued", "started", "ended")
    print_rows(out(), titles, map(_cells, snapshots))
    for ahead in waiting:
        if ahead.reason:
            out().print(f"{ahead.id}: {ahead.reason}", markup=False)
    for snapshot in snapshots:
        for line in [*warnings_of(snapshot.result), *map(fate_of, snapshot.webhooks)]:
            out().print(f"{snapshot.id}: {line}", markup=False)


def _each(ids: Sequence[str], ask: Callable[[str], T]) -> tuple[list[T], list[ImageFleetError]]:
    """What *ask* says of each of *ids*; a job that is not there, or has not ended, hides no other one."""
    found: list[T] = []
    errors: list[ImageFleetError] = []
    for job_id in ids:
        try:
            found.append(ask(job_id))
        except (JobNotFound, ResultTimeout) as error:
            errors.append(error)
    return found, errors


def _fail_with(errors: Sequence[ImageFleetError]) -> None:
    for error in errors:
        complain(error.message)
    if errors:
        raise typer.Exit(exit_code_for(errors[0]))


def result(
    context: typer.Context,
    ids: Ids,
    *,
    wait: Wait = False,
    timeout: Timeout = None,
    url: Urls = False,
    as_json: Json = False,
) -> None:
    """Show the results of jobs that have ended."""
    errors: list[ImageFleetError] = []
    with client_for(context) as client:
        if wait:
            results = wait_for(client, dict.fromkeys(ids, ""), timeout)
        else:
            results, errors = _each(ids, lambda job_id: _result_of(client.get(job_id)))
    for each in results:
        if as_json:
            print_json(each.model_dump_json())
    if results and not as_json:
        print_results(out(), results, labels={}, urls=url)
    _fail_with(errors)
    if any(each.status is not JobStatus.SUCCEEDED for each in results):
        raise typer.Exit(ExitCode.JOB_FAILED)


def cancel(context: typer.Context, ids: SomeIds = None, *, group: Group = None, as_json: Json = False) -> None:
    """Cancel jobs: a queued job at once, a running job as soon as its worker notices."""
    if not ids and group is None:
        raise InvalidJob("nothing to cancel: give job ids, or --group (see imagefleet cancel --help)")
    with client_for(context) as client:
        if group is not None:
            _cancel_group(client, group, as_json=as_json)
        _, errors = _each(ids or [], lambda job_id: _cancel(client, job_id, as_json=as_json))
    _fail_with(errors)


def _cancel(client: Client, job_id: str, *, as_json: bool) -> None:
    now = client.cancel(job_id)
    if as_json:
        print_json({"id": job_id, "status": now.value})
    else:
        words = {JobStatus.CANCELED: "canceled", JobStatus.RUNNING: "asked to stop"}
        typer.echo(f"{job_id} {words.get(now, f'had already {now}')}")


def _cancel_group(client: Client, group: str, *, as_json: bool) -> None:
    now = client.cancel_group(group)
    if as_json:
        print_json({"group": group, **now._asdict()})
    else:
        typer.echo(f"{group}: {now.canceled:,} canceled, {now.stopping:,} asked to stop")


def print_results(
    console: Console,
    results: list[JobResult],
    *,
    labels: Mapping[str, str],
    urls: bool = False,
    saved: Mapping[str, Path] = NOTHING_SAVED,
) -> None:
    """Print a table of *results*; *labels* are the prompts by job id, as far as they are known.

    Instead of `s3://` URIs it shows download URLs, with *urls* and where the results have them, or else the files in
    *saved*, which holds them by URI.
    """
    rows: list[tuple[str, ...]] = []
    for each in results:
        places = [(urls and image.url) or str(saved.get(image.uri, image.uri)) for image in each.artifacts]
        images = "\n".join([*places, *warnings_of(each)])
        job = f"{each.id}\n{shorten(labels[each.id], 36)}" if each.id in labels else each.id
        seconds = f"{each.timings.generate_s:.1f}" if each.artifacts else ""
        rows.append((job, each.status.value, seconds, each.worker or "", reason(each).removeprefix(": "), images))
    print_rows(console, ("job", "status", "seconds", "worker", "reason", "images"), rows)


def wait_for(
    client: Client,
    labels: Mapping[str, str],
    timeout_s: float | None,
    *,
    quiet: bool = False,
    at_end: Callable[[JobResult], None] = lambda _: None,
) -> list[JobResult]:
    """Show progress on standard error until all jobs have ended; return the results in the order of *labels*.

    *at_end* is called with each result as it arrives; *quiet* shows nothing without a terminal.
    """
    results: dict[str, JobResult] = {}
    console = err()
    names = {job_id: label or job_id for job_id, label in labels.items()}
    with view_for(console, names, quiet=quiet) as view:
        waits = Waits(client.outlook)
        for event in client.events(labels, timeout_s):
            if not quiet:
                waits.note(event)
            view.show(event)
            if event.result is not None:
                results[event.id] = event.result
                at_end(event.result)
    return [results[job_id] for job_id in labels]


def _result_of(snapshot: Snapshot) -> JobResult:
    if snapshot.result is None:
        raise ResultTimeout(f"job {snapshot.id} is {snapshot.status}; ask with --wait to wait for its end")
    return snapshot.result


def _as_json(snapshot: Snapshot, ahead: Outlook) -> dict[str, Any]:
    times = {name: getattr(snapshot, name) for name in ("queued_at", "started_at", "ended_at")}
    return {
        "id": snapshot.id,
        "status": snapshot.status.value,
        "progress": snapshot.progress._asdict() if snapshot.progress else None,
        "model": snapshot.model,
        "attempts": snapshot.attempts,
        "worker": snapshot.worker,
        **{name: at.isoformat() if at else None for name, at in times.items()},
        "cancel_requested": snapshot.cancel_requested,
        "warnings": [warning.model_dump() for warning in snapshot.result.warnings] if snapshot.result else [],
        "webhooks": [webhook.model_dump(mode="json") for webhook in snapshot.webhooks],
        "position": ahead.position,
        "images_per_s": ahead.images_per_s,
        "eta_s": ahead.eta_s,
        "reason": ahead.reason,
    }


def _cells(snapshot: Snapshot) -> tuple[str, ...]:
    times = [moment(at) for at in (snapshot.queued_at, snapshot.started_at, snapshot.ended_at)]
    progress = "{}/{}".format(*snapshot.progress) if snapshot.progress else ""
    stopping = " (asked to stop)" if snapshot.cancel_requested else ""
    state = f"{snapshot.status}{stopping}{count_of_warnings(snapshot.result)}"
    return (snapshot.id, state, progress, str(snapshot.attempts), snapshot.worker or "", *times)
