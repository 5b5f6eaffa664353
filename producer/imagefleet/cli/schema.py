"""`imagefleet schema`: prints the contract as JSON Schema."""

import json
from typing import Annotated, Final

import typer
from pydantic import BaseModel

from imagefleet.contract.jobs import GenerationJob
from imagefleet.contract.results import JobResult
from imagefleet.webhooks import Event

_MODELS: Final[dict[str, type[BaseModel]]] = {"job": GenerationJob, "result": JobResult, "event": Event}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: imagefleet schema job > job.schema.json")(schema)


def schema(
    which: Annotated[
        str | None, typer.Argument(help="job, result, or event (the body of a webhook). Default: all.")
    ] = None,
) -> None:
    """Print the JSON Schemas of jobs, results and webhooks."""
    if which is not None and which not in _MODELS:
        raise typer.BadParameter(f"{which!r} is none of {', '.join(_MODELS)}", param_hint="WHICH")
    schemas = {
        name: model.model_json_schema(mode="validation" if name == "job" else "serialization")
        for name, model in _MODELS.items()
    }
    typer.echo(json.dumps(schemas[which] if which else schemas, indent=2))
