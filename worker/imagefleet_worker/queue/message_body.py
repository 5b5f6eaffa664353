"""The body of a message: `[args, kwargs, embed]` of protocol 2, or the object of protocol 1."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagefleet.contract.validation_errors import describe_validation_error
from imagefleet_worker.queue.body_encoding import UnreadableBody, decode
from imagefleet_worker.queue.json_values import has_half_characters, is_deeper

#: Reads the text of a body as Celery does in the thread that runs the task.
Loads: TypeAlias = Callable[[str], Any]

#: Objects and lists in objects and lists; pydantic writes no more than 255.
MOST_LEVELS: Final = 200
_PARTS: Final = 3


class Signature(BaseModel):
    """A task that Celery calls later, such as a `link`."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    task: Annotated[str, Field(min_length=1)]
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    subtask_type: str | None = None
    immutable: bool | None = None
    chord_size: int | None = None


class Embed(BaseModel):
    """What Celery does after the task."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    callbacks: list[Signature] | None = None
    errbacks: list[Signature] | None = None
    chain: list[Signature] | None = None
    chord: Signature | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a message, as far as it can be read."""

    text: str = ""
    args: list[Any] = field(default_factory=list[Any])
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: As JSON types; empty if it is wrong.
    embed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: What is wrong, or empty.
    problem: str = ""


def read_body(
    body: object, *, body_encoding: str | None, compression: str | None, charset: str | None, loads: Loads
) -> Body | dict[str, Any]:
    """The body of a message of protocol 2; the object itself if it is of protocol 1."""
    if not isinstance(body, str):
        return Body(problem="the body is no text")
    try:
        text = decode(body, body_encoding=body_encoding, compression=compression, charset=charset)
    except UnreadableBody as error:
        return Body(problem=str(error))
    try:
        parts = loads(text)
    except Exception as error:  # noqa: BLE001  # Celery's decoders of types raise whatever they find
        return Body(problem=f"the body is not JSON: {error}")
    if has_half_characters(text, parts):
        return Body(problem="the body has half a character (a lone surrogate), which no text may have")
    if is_deeper(parts, MOST_LEVELS, text=text):
        return Body(problem=f"the body is nested more than {MOST_LEVELS} times")
    return parts if isinstance(parts, dict) else _read_parts(text, parts)


def _read_parts(text: str, parts: object) -> Body:
    if not isinstance(parts, list) or len(parts) != _PARTS:
        return Body(problem="the body is not [args, kwargs, embed]")
    args, kwargs, embed = parts
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(embed, dict | None):
        return Body(problem="the body is not [list, object, object]")
    try:
        Embed.model_validate(embed or {})
    except ValidationError as error:
        return Body(text, args, kwargs, problem=f"the body's embed: {describe_validation_error(error)}")
    return Body(text, args, kwargs, embed or {})
