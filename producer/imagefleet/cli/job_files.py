"""Reads jobs from a file: prompts (one for each line), CSV or JSON lines."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TextIO

from imagefleet.cli.times import after
from imagefleet.errors import InvalidJob, reason_of

#: Names of options of `imagefleet submit` that may name columns, too.
_OPTION_NAMES: Final = {
    "negative": "negative_prompt",
    "count": "num_images",
    "guidance": "guidance_scale",
}


class FileFormat(StrEnum):
    """The format of a file of jobs."""

    TEXT = "text"
    CSV = "csv"
    JSONL = "jsonl"


_SUFFIXES: Final = {".csv": FileFormat.CSV, ".jsonl": FileFormat.JSONL, ".ndjson": FileFormat.JSONL}


#: The place of a job, such as `cats.csv line 2`, and its fields.
PlacedJob = tuple[str, dict[str, Any]]


def read_file(path: Path, *, stdin: TextIO, file_format: FileFormat | None) -> list[PlacedJob]:
    """Each job in *path*, or in *stdin* if that is `-`; without *file_format* the suffix decides.

    Jobs from CSV or JSON lines may have an `id` besides their fields.

    Raises:
        InvalidJob: naming the line that cannot be read.
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        text = stdin.read() if str(path) == "-" else path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or reason_of(error)
        raise InvalidJob(f"{name} cannot be read: {why}; name a text file that this user can read") from error
    chosen = file_format or _SUFFIXES.get(path.suffix.lower()) or _guess(text)
    readers = {FileFormat.TEXT: _lines, FileFormat.CSV: _rows, FileFormat.JSONL: _objects}
    return list(readers[chosen](text, name))


def size_of(text: str) -> dict[str, int]:
    """`512x768` as the fields width and height.

    Raises:
        InvalidJob: for anything else.
    """
    width, by, height = text.lower().partition("x")
    if not (by and width.isdecimal() and height.isdecimal()):
        raise InvalidJob(f"size: must be WIDTHxHEIGHT in pixels, such as 512x768; it is {text!r}")
    return {"width": int(width), "height": int(height)}


def _guess(text: str) -> FileFormat:
    return FileFormat.JSONL if text.lstrip().startswith("{") else FileFormat.TEXT


def _lines(text: str, name: str) -> Iterator[PlacedJob]:
    for number, line in enumerate(text.splitlines(), start=1):
        if prompt := line.strip():
            yield f"{name} line {number}", {"prompt": prompt}


def _rows(text: str, name: str) -> Iterator[PlacedJob]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if "prompt" not in (reader.fieldnames or ()):
        raise InvalidJob(f"{name}: name the columns in the first line, one of them `prompt`")
    for row in reader:
        if None in row:
            raise InvalidJob(f"{name} line {reader.line_num}: more values than columns; quote values with commas")
        given = {column: value for column, value in row.items() if value not in (None, "")}
        yield f"{name} line {reader.line_num}", _renamed(given)


def _objects(text: str, name: str) -> Iterator[PlacedJob]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidJob(
                f"{name} line {number}: not JSON: {reason_of(error)}; write one JSON object a line"
            ) from error
        if not isinstance(fields, dict):
            raise InvalidJob(f"{name} line {number}: must be an object with the fields of a job")
        yield f"{name} line {number}", _renamed(fields)


def _renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {_OPTION_NAMES.get(column, column): value for column, value in row.items()}
    if (expires_in := fields.pop("expires_in", None)) is not None:
        fields["deadline"] = after(str(expires_in)).isoformat()
    size = fields.pop("size", None)
    return fields if size is None else {**fields, **size_of(str(size))}
