"""Joining: the arguments of several denoiser calls as one call, and its output as several again.

A call has *rows*: entries of dimension 0 of its tensors, or of its lists. Everything else must be equal to be joined.
"""

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from imagefleet_worker.families import SHARED_INPUTS

Arguments = dict[str, Any]
Digest = Callable[[torch.Tensor], Hashable]
_TIMES = frozenset({"timestep", "timesteps", "t"})


class Binder:
    """Gives the arguments of calls of *function* their names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._signature = inspect.signature(function)
        self._names = tuple(self._signature.parameters)
        self._orders: dict[tuple[int, tuple[str, ...]], tuple[str, ...]] = {}

    def bind(self, args: tuple[Any, ...], *, kwargs: dict[str, Any]) -> tuple[Arguments, int]:
        """The arguments by name, in the function's order, and the number of rows.

        Times are given to each row; whole-number times become float32 (the networks do that anyway), so that jobs with
        different schedulers fit together.
        """
        named = {**dict(zip(self._names, args, strict=False)), **kwargs}
        arguments = {name: named[name] for name in self._order(args, kwargs)}
        rows = len(next(iter(arguments.values())))
        for name, value in arguments.items():
            if isinstance(value, torch.Tensor) and value.ndim <= 1 and name not in SHARED_INPUTS:
                each = value.float() if name in _TIMES and not value.is_floating_point() else value
                arguments[name] = each.expand(rows) if each.numel() == 1 else each
        return arguments, rows

    def _order(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
        """The names in the function's order: found out once for each kind of call, as each step makes the same."""
        kind = (len(args), tuple(kwargs))
        if kind not in self._orders:
            arguments = self._signature.bind(*args, **kwargs).arguments
            arguments.update(arguments.pop("kwargs", {}))
            self._orders[kind] = tuple(arguments)
        return self._orders[kind]


def key_of(value: Any, rows: int, *, name: str, digest: Digest, is_exact: bool) -> Hashable:
    """What must be equal for two calls to be joined; *is_exact* also asks for equal sizes within lists."""
    if isinstance(value, torch.Tensor):
        if _has_rows(value, rows, name=name):
            shared = digest(value[0]) if name in SHARED_INPUTS else None
            return ("rows", value.shape[1:], value.dtype, value.device, shared)
        return ("shared", digest(value))
    if isinstance(value, dict):
        return tuple((k, key_of(v, rows, name=k, digest=digest, is_exact=is_exact)) for k, v in value.items())
    if isinstance(value, list) and len(value) == rows:
        return ("list", frozenset(_item_key(item, is_exact=is_exact) for item in value))
    return repr(value) if value is None or isinstance(value, bool | int | float | str | list | tuple) else id(value)


def has_lists(arguments: Arguments, rows: int) -> bool:
    """Whether rows come as lists of tensors, whose sizes may differ from row to row."""
    return any(isinstance(v, list) and len(v) == rows and isinstance(v[0], torch.Tensor) for v in arguments.values())


def join(calls: Sequence[tuple[Arguments, int]]) -> Arguments:
    """One call with the rows of all *calls*, which have equal keys, in their order."""
    first, _ = calls[0]
    return {name: _join([(call[name], rows) for call, rows in calls], name=name) for name in first}


def take(arguments: Arguments, rows: int, *, start: int, stop: int) -> Arguments:
    """The call with only the rows *start* to *stop* of a call with *rows*."""
    return {name: _take(value, rows, name=name, part=slice(start, stop)) for name, value in arguments.items()}


def split_output(output: tuple[Any, ...], counts: Sequence[int]) -> list[tuple[Any, ...]]:
    """The output of a joined call as one output for each of its members, which had *counts* rows."""
    parts: list[tuple[Any, ...]] = []
    start, rows = 0, sum(counts)
    for count in counts:
        part = slice(start, start + count)
        parts.append(tuple(_take(value, rows, name="", part=part) for value in output))
        start += count
    return parts


def join_outputs(outputs: Sequence[tuple[Any, ...]], *, counts: Sequence[int]) -> tuple[Any, ...]:
    """The outputs of calls with *counts* rows each, as of one call."""
    values = zip(*outputs, strict=True)
    return tuple(_join(list(zip(column, counts, strict=True)), name="") for column in values)


def _item_key(item: Any, *, is_exact: bool) -> Hashable:
    if not isinstance(item, torch.Tensor):
        return repr(item)
    if is_exact:
        return (item.shape, item.dtype, item.device)
    # Sizes may differ, but rows are padded to the largest: only sizes within a factor of two share a forward.
    size = item.numel().bit_length() if item.ndim > 2 else item.shape[-1]  # noqa: PLR2004  # above: an image, below: text
    return (size, item.dtype, item.device)


def _has_rows(value: Any, rows: int, *, name: str) -> bool:
    if isinstance(value, list):
        return len(value) == rows
    least_dimensions = 3 if name in SHARED_INPUTS else 1  # position ids have rows only where they have three
    return isinstance(value, torch.Tensor) and value.ndim >= least_dimensions and value.shape[0] == rows


def _join(values: Sequence[tuple[Any, int]], *, name: str) -> Any:
    value, rows = values[0]
    if isinstance(value, dict):
        return {k: _join([(v[k], n) for v, n in values], name=k) for k in value}
    if not _has_rows(value, rows, name=name):
        return value
    if isinstance(value, list):
        return [item for items, _ in values for item in items]
    return torch.cat([tensor for tensor, _ in values])


def _take(value: Any, rows: int, *, name: str, part: slice) -> Any:
    if isinstance(value, dict):
        return {k: _take(v, rows, name=k, part=part) for k, v in value.items()}
    return value[part] if _has_rows(value, rows, name=name) else value
