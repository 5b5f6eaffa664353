"""The fields of a pydantic model: name, type, limits, default and meaning, as its JSON Schema has them."""

import json
from typing import Any, NamedTuple

from pydantic import BaseModel

#: Patterns in words; one that is not here is shown as it is.
_PATTERNS = {
    r"^[a-z0-9][a-z0-9._-]{0,62}$": "1 to 63 of a-z 0-9 . _ -, the first a letter or digit",
    r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$": "1 to 128 letters, digits and . _ : -, the first a letter or digit",
    r"^[A-Za-z0-9]{1,64}$": "1 to 64 letters and digits",
    r"^https?://": "begins with http:// or https://",
    "^[0-9a-f]{40}$": "40 hexadecimal digits",
    "^(auto|cpu|mps|cuda)$": "`auto`, `cpu`, `mps`, `cuda`",
    "^(DEBUG|INFO|WARNING|ERROR)$": "`DEBUG`, `INFO`, `WARNING`, `ERROR`",
    r"^\d+x\d+$": "WIDTHxHEIGHT",
    r"^[A-Za-z0-9!_.*'()/-]*$": "letters, digits and ! _ . * ' ( ) / -",
    r"^$|^(\d+|cpu):\d+[KMG]i?B(,(\d+|cpu):\d+[KMG]i?B)*$": "DEVICE:SIZE, comma-separated",
}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} character(s)",
    "maxLength": "at most {} characters",
}


class FieldRow(NamedTuple):
    """One field, in words."""

    name: str
    type: str
    limits: str
    default: str
    meaning: str


def rows(model: type[BaseModel], mode: Any = "validation") -> list[FieldRow]:
    """The fields of *model* in their order."""
    schema = model.model_json_schema(mode=mode)
    required = set(schema.get("required", ()))
    found = [_row(name, field, schema) for name, field in schema["properties"].items()]
    return [row._replace(default="required") if row.name in required else row for row in found]


def _row(name: str, field: dict[str, Any], schema: dict[str, Any]) -> FieldRow:
    kinds = [kind for kind in _kinds(field, schema) if kind.get("type") != "null"]
    default = _default(field, kinds)
    types = " or ".join(dict.fromkeys(_type(kind, schema) for kind in kinds))
    parts = [part for kind in kinds for part in (_kinds(kind["items"], schema) if "items" in kind else [kind])]
    limits = "; ".join(dict.fromkeys(limit for part in parts for limit in _limits(part, is_only=len(parts) == 1)))
    return FieldRow(name, types, limits, default, field.get("description", ""))


def _kinds(field: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of *field*, references resolved."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return [{"title": name, **schema["$defs"][name]}]
    if "anyOf" in field or "oneOf" in field:
        parts = field.get("anyOf") or field["oneOf"]
        return [kind for part in parts for kind in _kinds({**part}, schema)]
    return [field]


def _type(kind: dict[str, Any], schema: dict[str, Any]) -> str:
    if "const" in kind or "enum" in kind:
        return "one of" if len(kind.get("enum", ())) > 1 else "constant"
    if kind.get("type") == "array":
        items = _kinds(kind.get("items", {}), schema)
        return "list of " + " or ".join(dict.fromkeys(_type(item, schema) for item in items))
    if kind.get("type") == "object":
        return kind["title"] if "properties" in kind else "object"
    return {"date-time": "time"}.get(kind.get("format", ""), kind.get("type", "any JSON value"))


def _limits(kind: dict[str, Any], *, is_only: bool) -> list[str]:
    if kind.get("type") == "boolean" and not is_only:  # its type says so, but not beside others
        return ["`true`, `false`"]
    if "enum" in kind or "const" in kind:
        return [", ".join(f"`{value}`" for value in kind.get("enum", [kind.get("const")]))]
    found = [text.format(f"{kind[name]:,}") for name, text in _LIMITS.items() if name in kind]
    if "pattern" in kind:
        found.append(_PATTERNS.get(kind["pattern"], f"matches `{kind['pattern']}`"))
    return found


def _default(field: dict[str, Any], kinds: list[dict[str, Any]]) -> str:
    value = field.get("default", {} if any(kind.get("type") == "object" for kind in kinds) else None)
    if value in (None, "", []) or isinstance(value, dict):
        return ""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
