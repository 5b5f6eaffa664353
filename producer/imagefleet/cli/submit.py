"""`imagefleet submit`: queues jobs, and waits for their images if asked."""

import sys
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from imagefleet.cli.contact_sheet import write_contact_sheet
from imagefleet.cli.context import client_for, err, out, print_json, settings_for
from imagefleet.cli.downloads import Downloads, Picture, make_folder
from imagefleet.cli.exit_codes import ExitCode
from imagefleet.cli.formats import shorten
from imagefleet.cli.job_files import FileFormat, read_file
from imagefleet.cli.job_options import JobOptions, ResultOptions
from imagefleet.cli.jobs import print_results, wait_for
from imagefleet.cli.option_groups import grouped
from imagefleet.client import Client
from imagefleet.client.submissions import check
from imagefleet.contract.results import JobResult, JobStatus
from imagefleet.errors import InvalidJob, NoWorker, complain

_EPILOG: Final = """Examples:

imagefleet submit "a dog" "a cat" --steps 20 --size 512x512 --seed 1 --count 4 --out pictures

imagefleet submit --file prompts.csv --wait --json --expires-in 2h

echo "a lighthouse at dusk" | imagefleet submit --file - --priority 9
"""


Prompts = Annotated[list[str] | None, typer.Argument(help="One job for each prompt.", show_default=False)]
File = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", help="File of prompts, one for each line, or of jobs as CSV or JSON lines; - is stdin."
    ),
]
Format = Annotated[FileFormat | None, typer.Option("--file-format", help="Format of --file. Default: by its suffix.")]
JobId = Annotated[
    str | None, typer.Option("--id", help="Id of the job, if there is only one; the same id twice is one job.")
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG)(grouped(submit))


def submit(
    context: typer.Context,
    prompts: Prompts = None,
    *,
    file: File = None,
    file_format: Format = None,
    job_id: JobId = None,
    asked: JobOptions,
    wanted: ResultOptions,
) -> None:
    """Queue a job for each prompt; with --wait, --url or --out, wait for the images.

    The options are for all jobs. Jobs in a file may have values of their own.

    Their columns or fields are named as these options, or as in `imagefleet schema job`.
    """
    shared = {**asked.as_fields(), **({"presign": True} if wanted.needs_urls else {})}
    placed = [(place, {**shared, **job}) for place, job in _jobs(prompts or [], file, file_format)]
    jobs = [job for _, job in placed]
    ids = _ids(jobs, job_id)
    if wanted.out_dir:
        make_folder(wanted.out_dir)
    with client_for(context) as client:
        if file is not None:
            check(jobs, settings=settings_for(context), places=[place for place, _ in placed])
        _submit(client, jobs, ids)
        labels = {each: str(job["prompt"]) for each, job in zip(ids, jobs, strict=True)}
        if wanted.waits:
            _wait(client, labels, wanted)
        else:
            _print_ids(labels, as_json=wanted.as_json)


def _submit(client: Client, jobs: list[dict[str, Any]], ids: list[str]) -> None:
    """Queue *jobs*; those of a model that no worker has served only if no worker has served any: a fleet may come."""
    try:
        client.submit_many(jobs, ids, require_worker=True)
    except NoWorker as error:
        if error.served:
            raise
        complain(f"{error.message}; the job waits")
        client.submit_many(jobs, ids)


def _print_ids(labels: Mapping[str, str], *, as_json: bool) -> None:
    for job_id, prompt in labels.items():
        if as_json:
            print_json({"id": job_id, "prompt": prompt})
        else:
            typer.echo(job_id)


def _jobs(prompts: list[str], file: Path | None, file_format: FileFormat | None) -> list[tuple[str, dict[str, Any]]]:
    """Each job with the place where the user finds it."""
    jobs: list[tuple[str, dict[str, Any]]] = [(f"prompt {prompt!r}", {"prompt": prompt}) for prompt in prompts]
    if file is not None:
        jobs += read_file(file, stdin=sys.stdin, file_format=file_format)
    if not jobs:
        raise InvalidJob("no prompts: give some, or --file (see imagefleet submit --help)")
    return jobs


def _ids(jobs: list[dict[str, Any]], job_id: str | None) -> list[str]:
    """Remove the ids from *jobs* and return them, with a new id for each job without one."""
    if job_id is not None:
        if len(jobs) != 1:
            raise InvalidJob(f"--id is for one job, and there are {len(jobs)}; in a file, give each job its id")
        jobs[0]["id"] = job_id
    ids = [str(job.pop("id", None) or uuid.uuid4()) for job in jobs]
    twice = next((each for each, times in Counter(ids).items() if times > 1), None)
    if twice is not None:
        raise InvalidJob(f"id: two jobs are called {twice}; give each an id of its own")
    return ids


def _wait(client: Client, labels: dict[str, str], wanted: ResultOptions) -> None:
    folder, as_json = wanted.out_dir, wanted.as_json
    numbers = {job_id: number for number, job_id in enumerate(labels, start=1)}
    with ExitStack() as stack:
        downloads = stack.enter_context(Downloads(folder)) if folder else None

        def at_end(result: JobResult) -> None:
            if downloads:
                downloads.add(result, number=numbers[result.id], prompt=labels[result.id])
            if as_json:
                print_json(result.model_dump_json())

        results = _results(client, labels, wanted.timeout, as_json=as_json, at_end=at_end)
        pictures, problems = downloads.finish() if downloads else ([], [])
    if not as_json:
        saved = {picture.artifact.uri: picture.path for picture in pictures}
        print_results(out(), results, labels=labels, urls=wanted.url, saved=saved)
    for problem in problems:
        complain(problem)
    if pictures and folder:
        _write_sheet(pictures, folder / "contact-sheet.png", as_json=as_json)
    if problems or any(result.status is not JobStatus.SUCCEEDED for result in results):
        raise typer.Exit(ExitCode.JOB_FAILED)


def _results(
    client: Client,
    labels: dict[str, str],
    timeout_s: float | None,
    *,
    as_json: bool,
    at_end: Callable[[JobResult], None],
) -> list[JobResult]:
    try:
        return wait_for(client, labels, timeout_s, quiet=as_json, at_end=at_end)
    except KeyboardInterrupt as error:
        err().print(f"The jobs go on; see imagefleet status {shorten(' '.join(labels), 200)}", markup=False)
        raise typer.Exit(ExitCode.INTERRUPTED) from error


def _write_sheet(pictures: Sequence[Picture], path: Path, *, as_json: bool) -> None:
    try:
        write_contact_sheet(pictures, path)
    except OSError as error:
        complain(f"no contact sheet: {path}: {error.strerror}; the images are beside it")
        return
    if not as_json:
        out().print(f"{len(pictures)} images and {path}", markup=False)
