"""Parameters text: the parameters of an image as JSON of a limited size."""

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import JsonValue

#: The end of a text that was cut.
CUT: Final = "..."


def fit_parameters(
    parameters: Mapping[str, JsonValue], *, most: int, weigh: Callable[[str], int] = len, only_ascii: bool = False
) -> str:
    """Compact, valid JSON of *parameters* whose weight is at most *most*.

    If not everything fits, the longest text (in practice a prompt) is cut and ends in `...`; a value of which nothing
    fits is left out.

    Args:
        parameters: What to write.
        most: The greatest weight allowed.
        weigh: The weight of a text, such as its length in some encoding; a longer text must not weigh less.
        only_ascii: Write other letters as JSON escapes.
    """

    def dump(value: object) -> str:
        return json.dumps(value, ensure_ascii=only_ascii, separators=(",", ":"))

    def weight(value: object) -> int:
        return weigh(dump(value))

    kept = dict(parameters)
    while kept and (excess := weight(kept) - most) > 0:
        longest = max(kept, key=lambda name: weight(kept[name]))
        shorter = _shortened(kept[longest], by=excess, weight=weight)
        if shorter:
            kept[longest] = shorter
        else:
            del kept[longest]
    return dump(kept)


def _shortened(value: JsonValue, *, by: int, weight: Callable[[object], int]) -> str:
    """The longest beginning of a text that, with `CUT`, weighs at least *by* less; empty if there is none."""
    if not isinstance(value, str):
        return ""
    most = weight(value) - by
    end = bisect_right(range(len(value)), most, key=lambda length: weight(value[:length] + CUT)) - 1
    return value[:end] + CUT if end > 0 else ""
