"""The options of `imagefleet submit`, as typer reads them from annotations."""

from pathlib import Path
from typing import Annotated

import typer

from imagefleet.cli.prompts import FileFormat
from imagefleet.jobs import ImageFormat

Prompts = Annotated[list[str] | None, typer.Argument(help="One job for each prompt.", show_default=False)]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="Prompts, one a line, or jobs as CSV or JSON lines; - is stdin.")
]
Format = Annotated[FileFormat | None, typer.Option("--file-format", help="Of --file; from its suffix without this.")]
Model = Annotated[str | None, typer.Option(help="Alias of the model.")]
Steps = Annotated[int | None, typer.Option(help="Denoising steps.")]
Size = Annotated[str | None, typer.Option(metavar="WxH", help="Pixels, such as 512x768.")]
Seed = Annotated[int | None, typer.Option(help="Image i of a job is made from seed + i.")]
Count = Annotated[int | None, typer.Option(help="Images of each job.")]
Negative = Annotated[str | None, typer.Option(help="What the images should not show.")]
Guidance = Annotated[float | None, typer.Option(help="How closely to follow the prompt.")]
Scheduler = Annotated[str | None, typer.Option(help="Class name of a diffusers scheduler.")]
ImageType = Annotated[ImageFormat | None, typer.Option("--format", help="Of the image files.")]
Quality = Annotated[int | None, typer.Option(help="For jpeg and webp, 1 to 100.")]
Priority = Annotated[int | None, typer.Option(help="0 to 9; 9 is the most urgent.")]
WebhookUrl = Annotated[str | None, typer.Option("--webhook", help="URL that is told how each job ends.")]
JobId = Annotated[str | None, typer.Option("--id", help="Id of the one job; the same twice is one job.")]
Metadata = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label given back in the result; repeatable.")
]
Group = Annotated[str | None, typer.Option(help="A name that these jobs share, to cancel them together.")]
Tenant = Annotated[str | None, typer.Option(help="Whose jobs they are; tenants take turns.")]
Presign = Annotated[bool, typer.Option("--presign", help="Put download URLs into the results.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until all jobs have ended.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait at most.", min=0)]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for images and contact-sheet.png; implies --wait --presign.")
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON for each job on standard output.")]
