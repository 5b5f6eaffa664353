"""The options of `imagefleet submit`: each becomes a field of the job, or says what it should be."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from imagefleet.cli.job_options import JobOptions, ResultOptions
from imagefleet.cli.option_groups import grouped
from imagefleet.cli.times import after, parse_moment
from imagefleet.contract.jobs import GenerationJob, ImageFormat
from imagefleet.errors import InvalidJob

ALL = JobOptions(
    model="sdxl",
    steps=4,
    size="64x32",
    seed=7,
    count=2,
    negative="ugly",
    guidance=3.5,
    scheduler="EulerDiscreteScheduler",
    scheduler_option=["use_karras_sigmas=true", "shift=3", "timestep_spacing=trailing"],
    image_format=ImageFormat.WEBP,
    quality=80,
    preview_every=2,
    priority=9,
    expires_in="2h",
    webhook="https://example.com/hook",
    metadata=["user=u=1"],
    group="calendar",
    tenant="ann",
    presign=True,
    strict=True,
    no_embed=True,
)


def test_every_option_is_a_field_of_the_job() -> None:
    job = GenerationJob.parse({"prompt": "a fox", **ALL.as_fields()})
    assert (job.preview_every, job.width, job.num_images, job.metadata) == (2, 64, 2, {"user": "u=1"})
    assert job.scheduler_options == {"use_karras_sigmas": True, "shift": 3, "timestep_spacing": "trailing"}
    assert job.deadline is not None
    assert timedelta(hours=1, minutes=59) < job.deadline - datetime.now(UTC) <= timedelta(hours=2)
    untouched = {field.name for field in fields(JobOptions) if getattr(ALL, field.name) is None}
    assert untouched == {"deadline"}
    assert JobOptions().as_fields() == {}


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2 h", 7200), ("1d", 86_400)])
def test_a_duration_has_a_unit_or_is_seconds(text: str, seconds: float) -> None:
    assert abs((after(text) - datetime.now(UTC)).total_seconds() - seconds) < 60


def test_a_time_without_an_offset_is_that_of_this_machine() -> None:
    assert parse_moment("2030-01-31T18:00") == datetime(2030, 1, 31, 18).astimezone()
    assert parse_moment("2030-01-31T18:00+00:00") == datetime(2030, 1, 31, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"expires_in": "soon"}, "must be seconds, or a duration such as 90s"),
        ({"deadline": "tomorrow"}, "must be a date and time such as"),
        ({"deadline": "2030-01-31", "expires_in": "1h"}, "give one of them"),
        ({"size": "big"}, "WIDTHxHEIGHT"),
        ({"metadata": ["novalue"]}, "KEY=VALUE"),
    ],
)
def test_an_option_that_cannot_be_read_says_what_it_should_be(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidJob, match=sentence):
        JobOptions(**options).as_fields()  # type: ignore[arg-type]


def test_urls_and_pictures_are_waited_for() -> None:
    assert ResultOptions(url=True).waits
    assert ResultOptions(url=True).needs_urls
    assert not ResultOptions(as_json=True).waits


def test_the_fields_of_a_group_are_options_of_their_own() -> None:
    @dataclass
    class Size:
        width: Annotated[int, typer.Option(help="Pixels.")] = 8
        is_tall: Annotated[bool, typer.Option("--tall")] = False

    def draw(name: str, *, size: Size) -> None:
        """Draw."""
        typer.echo(f"{name} {size.width} {size.is_tall}")

    app = typer.Typer()
    app.command()(grouped(draw))
    assert CliRunner().invoke(app, ["fox", "--width", "9", "--tall"]).output == "fox 9 True\n"
    assert CliRunner().invoke(app, ["fox"]).output == "fox 8 False\n"
    assert CliRunner().invoke(app, ["fox", "--size", "9"]).exit_code == 2
