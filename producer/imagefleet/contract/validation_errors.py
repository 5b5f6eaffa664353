"""Validation errors: what pydantic says of a bad field, as a sentence that names what the field must be."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

#: By pydantic's type of the error (https://docs.pydantic.dev/latest/errors/validation_errors/); any other keeps its
#: own words.
_SENTENCES: Final = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_long": "must have at most {max_length} characters",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "missing": "is missing",
}
#: Those of a number, and what one looks like, in a file as well.
_OF_NUMBERS: Final = frozenset(
    {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "multiple_of", "int_from_float"}
)
_NUMBER: Final = re.compile(r"[+-]?\d{1,20}(\.\d{1,20})?(e[+-]?\d{1,3})?|[+-]?inf|nan")


def describe_validation_error(error: ValidationError, *, names: Iterable[str] = ()) -> str:
    """Every problem of a pydantic *error* in one line: `field: what is wrong; field: ...`.

    A field that does not exist is compared with *names*, those that do. Of values, only numbers are shown: a text may
    be a secret.
    """
    problems: list[str] = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            what = _no_such_field(str(problem["loc"][-1]), names)
        else:
            what = f"{sentence_of(problem)}{_number_in(problem)}"
        problems.append(f"{where}: {what}" if where else what)
    return "; ".join(problems)


def sentence_of(problem: Mapping[str, Any]) -> str:
    """What is wrong, of one of the `errors()` of pydantic, without the value."""
    if problem["type"] == "string_too_short":
        least = problem["ctx"]["min_length"]
        return "must not be empty" if least == 1 else f"must have at least {least} characters"
    if sentence := _SENTENCES.get(problem["type"]):
        return sentence.format(**problem.get("ctx", {}))
    return str(problem["msg"]).removeprefix("Value error, ")


def _number_in(problem: Mapping[str, Any]) -> str:
    text = str(problem["input"])
    return f"; it is {text}" if problem["type"] in _OF_NUMBERS and _NUMBER.fullmatch(text) else ""


def _no_such_field(name: str, names: Iterable[str]) -> str:
    nearest = get_close_matches(name, names, n=1)
    return "there is no such field" + (f"; did you mean {nearest[0]}?" if nearest else "")
