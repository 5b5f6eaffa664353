"""Scheduler options: what a job may set in its scheduler, checked against the scheduler's class."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from imagefleet_worker.errors import JobRejected

#: They say how the model was trained, and how much memory the scheduler's tables take.
_OF_THE_TRAINING: Final = frozenset({"num_train_timesteps", "trained_betas"})
#: Some schedulers make lists of that length.
_LARGEST: Final = 10_000


def check_options(kind: type[Any], options: Mapping[str, JsonValue]) -> None:
    """Find out whether *options* are options of the scheduler class *kind*, with values of their types.

    Raises:
        JobRejected: with the first that is not.
    """
    known = {
        name: parameter.annotation
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if name != "self" and name not in _OF_THE_TRAINING and _takes_json(parameter.annotation)
    }
    for name, value in options.items():
        if name not in known:
            raise JobRejected(_unknown(kind.__name__, name, sorted(known)))
        problem = _problem(known[name], value)
        if problem:
            raise JobRejected(f"scheduler_options: {name} of {kind.__name__} {problem}; it is {value!r}: correct it")


def _unknown(kind: str, name: str, known: list[str]) -> str:
    if name in _OF_THE_TRAINING:
        return f"scheduler_options: {name} says how the model was trained, and cannot be changed; leave it out"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
    return f"scheduler_options: {kind} has no option {name}; {hint}"


def _problem(annotation: Any, value: JsonValue) -> str:
    """What is wrong with *value*, as the end of a sentence; empty if nothing is."""
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        return f"is wrong: {error.errors(include_url=False)[0]['msg']}"
    if isinstance(value, int | float) and abs(value) > _LARGEST:
        return f"is too large: at most {_LARGEST:,} is allowed"
    return ""


def _takes_json(annotation: Any) -> bool:
    if annotation is inspect.Parameter.empty:
        return False
    try:
        TypeAdapter(annotation)
    except PydanticSchemaGenerationError:  # another scheduler, an array
        return False
    return True
