"""JSON values: what Python's own functions for JSON and text accept, and then fail at."""

import json
from typing import Any


def is_deeper(value: object, most_levels: int, *, text: str) -> bool:
    """Whether more than *most_levels* objects and lists lie in each other in *value*, which was read from *text*.

    Somewhere above 200 levels, functions that call themselves fail.
    """
    if text.count("{") + text.count("[") <= most_levels:
        return False
    level: list[Any] = [value]
    for _ in range(most_levels + 1):
        level = [child for each in level if isinstance(each, dict | list) for child in _children(each)]
        if not level:
            return False
    return True


def has_half_characters(text: str, value: object) -> bool:
    """Whether *value*, which was read from *text*, has a lone surrogate, which cannot be written as UTF-8."""
    if "\\ud" not in text.lower():
        return False
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return True
    except RecursionError:  # for `is_deeper` to say
        return False
    return False


def _children(container: dict[Any, Any] | list[Any]) -> list[Any]:
    return list(container.values()) if isinstance(container, dict) else container
