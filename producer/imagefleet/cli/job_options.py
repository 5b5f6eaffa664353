"""The options of `imagefleet submit`: what its jobs ask for, and what happens with their results."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from imagefleet.cli.job_files import size_of
from imagefleet.cli.options import Json, Timeout, Urls, Wait
from imagefleet.cli.times import after, parse_moment
from imagefleet.contract.jobs import ImageFormat
from imagefleet.errors import InvalidJob


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What all jobs of one call ask for, unless a job of a file says otherwise."""

    model: Annotated[str | None, typer.Option(help="Alias of the model. Default: default.")] = None
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size in pixels, such as 512x768.")] = None
    seed: Annotated[int | None, typer.Option(help="Seed of a job's first image; image i has seed + i.")] = None
    count: Annotated[int | None, typer.Option(help="Number of images of each job.")] = None
    negative: Annotated[str | None, typer.Option(help="What the images should not show.")] = None
    guidance: Annotated[float | None, typer.Option(help="Guidance scale: how closely to follow the prompt.")] = None
    scheduler: Annotated[str | None, typer.Option(help="Class name of a diffusers scheduler.")] = None
    scheduler_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the scheduler, such as use_karras_sigmas=true; repeatable."),
    ] = None
    image_format: Annotated[ImageFormat | None, typer.Option("--format", help="Format of the image files.")] = None
    quality: Annotated[int | None, typer.Option(help="Quality of jpeg and webp files, 1 to 100.")] = None
    preview_every: Annotated[int | None, typer.Option(help="Steps between two previews.", min=1)] = None
    priority: Annotated[int | None, typer.Option(help="Priority, 0 to 9; 9 is the most urgent.")] = None
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End jobs that are not done at this time, such as 2026-01-31T18:00."),
    ] = None
    expires_in: Annotated[
        str | None, typer.Option(metavar="DURATION", help="End jobs that are not done after this, such as 90s or 2h.")
    ] = None
    webhook: Annotated[str | None, typer.Option(help="URL to notify when a job ends.")] = None
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label to return in the result; repeatable.")
    ] = None
    group: Annotated[str | None, typer.Option(help="Group of these jobs, to cancel them together.")] = None
    tenant: Annotated[str | None, typer.Option(help="Tenant of these jobs; tenants take turns.")] = None
    presign: Annotated[bool, typer.Option("--presign", help="Put download URLs into the results.")] = False
    strict: Annotated[bool, typer.Option("--strict", help="No image rather than one that is not as asked.")] = False
    no_embed: Annotated[bool, typer.Option("--no-embed", help="Keep the prompt out of the files.")] = False

    def as_fields(self) -> dict[str, Any]:
        """The fields of the job that are given.

        Raises:
            InvalidJob: for a size, a time or a label that cannot be read.
        """
        if self.deadline and self.expires_in:
            raise InvalidJob("--deadline and --expires-in both say when a job ends; give one of them")
        deadline = parse_moment(self.deadline) if self.deadline else after(self.expires_in) if self.expires_in else None
        fields: dict[str, Any] = {
            "model": self.model,
            "steps": self.steps,
            "seed": self.seed,
            "num_images": self.count,
            "negative_prompt": self.negative,
            "guidance_scale": self.guidance,
            "scheduler": self.scheduler,
            "scheduler_options": {
                name: _json(value) for name, value in _pairs("scheduler-option", self.scheduler_option)
            }
            or None,
            "format": self.image_format,
            "quality": self.quality,
            "preview_every": self.preview_every,
            "priority": self.priority,
            "deadline": deadline.isoformat() if deadline else None,
            "webhook": {"url": self.webhook} if self.webhook else None,
            "metadata": dict(_pairs("metadata", self.metadata)) or None,
            "group": self.group,
            "tenant": self.tenant,
            "presign": self.presign or None,
            "strict": self.strict or None,
            "embed": False if self.no_embed else None,
            **(size_of(self.size) if self.size else {}),
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOptions:
    """Whether to wait for the results, and where they go."""

    wait: Wait = False
    timeout: Timeout = None
    url: Urls = False
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the images and contact-sheet.png; implies --wait.")
    ] = None
    as_json: Json = False

    @property
    def waits(self) -> bool:
        """Whether the command waits for the results."""
        return self.wait or self.url or self.out_dir is not None

    @property
    def needs_urls(self) -> bool:
        """Whether the results must have download URLs."""
        return self.url or self.out_dir is not None


def _pairs(option: str, pairs: list[str] | None) -> list[tuple[str, str]]:
    for pair in pairs or []:
        if "=" not in pair:
            raise InvalidJob(f"{option}: must be KEY=VALUE; it is {pair!r}")
    return [(key, value) for key, _, value in (pair.partition("=") for pair in pairs or [])]


def _json(text: str) -> Any:
    """A number, true or false; anything else is a word."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
