"""The types of options and arguments that several commands have."""

from typing import Annotated

import typer

Wait = Annotated[bool, typer.Option("--wait", help="Wait until all jobs have ended.")]
Timeout = Annotated[float | None, typer.Option(help="Longest time to wait, in seconds.", min=0)]
Urls = Annotated[bool, typer.Option("--url", help="Show download URLs instead of s3:// URIs.")]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each job.")]
