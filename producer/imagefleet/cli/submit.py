"""`imagefleet submit`: from prompts to jobs and, if asked, to files."""

import sys
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import typer

from imagefleet.cli import options
from imagefleet.cli.bars import shorten
from imagefleet.cli.contact_sheet import write_contact_sheet
from imagefleet.cli.downloads import Downloads
from imagefleet.cli.exits import Exit
from imagefleet.cli.jobs import print_results, wait_for
from imagefleet.cli.prompts import FileFormat, read_file, size_of
from imagefleet.cli.session import client_for, err, out, print_json
from imagefleet.client import Client
from imagefleet.errors import InvalidJob
from imagefleet.results import JobResult, JobStatus

_EPILOG: Final = """Examples:

imagefleet submit "a dog" "a cat" --steps 20 --size 512x512 --seed 1 --count 4 --out pictures

imagefleet submit --file prompts.csv --wait --json

echo "a lighthouse at dusk" | imagefleet submit --file - --priority 9
"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EPILOG)(submit)


def submit(
    context: typer.Context,
    prompts: options.Prompts = None,
    *,
    file: options.File = None,
    file_format: options.Format = None,
    model: options.Model = None,
    steps: options.Steps = None,
    size: options.Size = None,
    seed: options.Seed = None,
    count: options.Count = None,
    negative: options.Negative = None,
    guidance: options.Guidance = None,
    scheduler: options.Scheduler = None,
    image_format: options.ImageType = None,
    quality: options.Quality = None,
    priority: options.Priority = None,
    webhook: options.WebhookUrl = None,
    job_id: options.JobId = None,
    metadata: options.Metadata = None,
    group: options.Group = None,
    tenant: options.Tenant = None,
    presign: options.Presign = False,
    wait: options.Wait = False,
    timeout: options.Timeout = None,
    out_dir: options.Out = None,
    as_json: options.Json = False,
) -> None:
    """Queue a job for each prompt, wait for the images and download them.

    Options are for all jobs; a job in a file may have its own values, in columns or fields named as in the contract
    (`imagefleet schema job`) or as these options.
    """
    shared = _given(
        model=model,
        steps=steps,
        seed=seed,
        num_images=count,
        negative_prompt=negative,
        guidance_scale=guidance,
        scheduler=scheduler,
        format=image_format,
        quality=quality,
        priority=priority,
        webhook={"url": webhook} if webhook else None,
        presign=True if presign or out_dir else None,
        group=group,
        tenant=tenant,
        metadata=_metadata(metadata or []) or None,
        **(size_of(size) if size else {}),
    )
    jobs = [{**shared, **job} for job in _jobs(prompts or [], file, file_format)]
    ids = _ids(jobs, job_id)
    with client_for(context) as client:
        client.submit_many(jobs, ids)
        labels = {each: str(job["prompt"]) for each, job in zip(ids, jobs, strict=True)}
        if wait or out_dir:
            _wait(client, labels, timeout, folder=out_dir, as_json=as_json)
        else:
            _print_ids(labels, as_json=as_json)


def _print_ids(labels: Mapping[str, str], *, as_json: bool) -> None:
    for job_id, prompt in labels.items():
        if as_json:
            print_json({"id": job_id, "prompt": prompt})
        else:
            typer.echo(job_id)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _jobs(prompts: list[str], file: Path | None, file_format: FileFormat | None) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = [{"prompt": prompt} for prompt in prompts]
    if file is not None:
        jobs += read_file(file, stdin=sys.stdin, file_format=file_format)
    if not jobs:
        raise InvalidJob("nothing to make: give prompts, or --file with some (see imagefleet submit --help)")
    return jobs


def _ids(jobs: list[dict[str, Any]], job_id: str | None) -> list[str]:
    """Take the ids out of *jobs*; jobs without one get a new one."""
    if job_id is not None:
        if len(jobs) != 1:
            raise InvalidJob(f"--id is for one job, and there are {len(jobs)}; in a file, give each job its id")
        jobs[0]["id"] = job_id
    ids = [str(job.pop("id", None) or uuid.uuid4()) for job in jobs]
    twice = next((each for each, times in Counter(ids).items() if times > 1), None)
    if twice is not None:
        raise InvalidJob(f"id: two jobs are called {twice}")
    return ids


def _metadata(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise InvalidJob(f"metadata: must be KEY=VALUE; it is {pair!r}")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _wait(
    client: Client, labels: dict[str, str], timeout_s: float | None, *, folder: Path | None, as_json: bool
) -> None:
    numbers = {job_id: number for number, job_id in enumerate(labels, start=1)}
    with ExitStack() as stack:
        downloads = stack.enter_context(Downloads(folder)) if folder else None

        def at_end(result: JobResult) -> None:
            if downloads:
                downloads.add(result, number=numbers[result.id], prompt=labels[result.id])
            if as_json:
                print_json(result.model_dump_json())

        results = _results(client, labels, timeout_s, as_json=as_json, at_end=at_end)
        if not as_json:
            print_results(out(), results, labels=labels)
        complete = _store(downloads, folder, as_json=as_json) if downloads and folder else True
    if not complete or any(result.status is not JobStatus.SUCCEEDED for result in results):
        raise typer.Exit(Exit.JOB_FAILED)


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
        raise typer.Exit(Exit.INTERRUPTED) from error


def _store(downloads: Downloads, folder: Path, *, as_json: bool) -> bool:
    """Finish the downloads and write the contact sheet; whether all images are there."""
    pictures, problems = downloads.finish()
    for problem in problems:
        err().print(f"imagefleet: {problem}", markup=False, soft_wrap=True)
    if pictures:
        sheet = folder / "contact-sheet.png"
        write_contact_sheet(pictures, sheet)
        if not as_json:
            out().print(f"{len(pictures)} images and {sheet}", markup=False)
    return not problems
