"""The settings of workers in the chart: their names in settings.json, their values in values.schema.json.

`python -m tests.scripts.make_reference` writes both.
"""

import json
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from imagefleet_worker.settings import Settings

CHART: Final = Path(__file__).parents[2] / "helm" / "imagefleet"
SCHEMA: Final = CHART / "values.schema.json"
NAMES: Final = CHART / "settings.json"


def schema() -> str:
    """The schema with what the settings allow, as the chart should have it."""
    found: dict[str, Any] = json.loads(SCHEMA.read_text())
    found["$defs"]["settings"]["properties"] = {
        name: rule for name, field in _fields() if (rule := _rule(field)) is not None
    }
    return json.dumps(found, indent=2) + "\n"


def names() -> str:
    """The names of all settings, as JSON."""
    return json.dumps([name for name, _ in _fields()], indent=0) + "\n"


def stale() -> list[str]:
    """The names of the files that are not what the settings make of them."""
    return [path.name for path, text in ((SCHEMA, schema()), (NAMES, names())) if path.read_text() != text]


def _fields() -> list[tuple[str, FieldInfo]]:
    return [
        (f"{group.model_config.get('env_prefix')}{name}".upper(), field)
        for group in Settings.groups().values()
        for name, field in group.model_fields.items()
    ]


def _rule(field: FieldInfo) -> dict[str, Any] | None:
    """What the value of *field* must be; None if the chart leaves that to the worker. An empty text is the default."""
    if isinstance(field.annotation, type) and issubclass(field.annotation, Enum):
        return {"enum": ["", *(str(each.value) for each in field.annotation)]}
    if get_origin(field.annotation) is Literal:
        return {"enum": ["", *get_args(field.annotation)]}
    pattern = next((found for each in field.metadata if (found := getattr(each, "pattern", None))), None)
    return {"type": "string", "pattern": f"^$|{pattern}"} if pattern else None


def write() -> None:
    """Write both files."""
    SCHEMA.write_text(schema())
    NAMES.write_text(names())
