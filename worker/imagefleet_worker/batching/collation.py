"""Collation: the arguments of several calls as one call, and its output as several again.

A call has *rows*: entries of dimension 0 of its tensors, or of its lists. Everything else must be equal to be joined.
"""

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch

Arguments = dict[str, Any]
Digest = Callable[[torch.Tensor], Hashable]

#: Denoiser inputs that are the same for all rows of a call: position ids of the image and of the text.
SHARED_INPUTS = frozenset({"img_ids", "txt_ids"})
_TIMES = frozenset({"timestep", "timesteps", "t"})
_PLAIN = (bool, int, float, str, type(None), torch.dtype)


class Unjoinable(Exception):
    """A call or an output that cannot be joined or split; it is made alone."""


class Binder:
    """Gives the arguments of calls of *function* their names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._signature = inspect.signature(function)
        self._names = tuple(self._signature.parameters)
        self._orders: dict[tuple[int, tuple[str, ...]], tuple[str, ...]] = {}

    def takes(self, name: str) -> bool:
        """Whether the function has an argument *name*."""
        return name in self._names

    def bind(self, args: tuple[Any, ...], *, kwargs: dict[str, Any]) -> tuple[Arguments, int]:
        """The arguments by name, in the function's order, and the number of rows.

        Times are given to each row; whole-number times become float32 (the networks do that anyway), so that jobs with
        different schedulers fit together.

        Raises:
            Unjoinable: if the first argument has no rows.
        """
        named = {**dict(zip(self._names, args, strict=False)), **kwargs}
        order = self._order(args, kwargs)
        first = named[order[0]] if order else None
        if not isinstance(first, torch.Tensor | list) or (isinstance(first, torch.Tensor) and not first.ndim):
            raise Unjoinable("the first argument has no rows")
        rows = len(first) if isinstance(first, list) else first.shape[0]
        arguments: Arguments = {}
        for name in order:
            value = named[name]
            if isinstance(value, torch.Tensor) and value.ndim <= 1 and name not in SHARED_INPUTS:
                each = value.float() if name in _TIMES and not value.is_floating_point() else value
                value = each.expand(rows) if each.numel() == 1 else each
            arguments[name] = value
        return arguments, rows

    def _order(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
        """The names in the function's order: found out once for each kind of call, as each step makes the same."""
        kind = (len(args), tuple(kwargs))
        if kind not in self._orders:
            arguments = self._signature.bind(*args, **kwargs).arguments
            arguments.update(arguments.pop("kwargs", {}))
            self._orders[kind] = tuple(arguments)
        return self._orders[kind]


def batch_key(arguments: Arguments, rows: int, *, digest: Digest, is_exact: bool) -> dict[str, Hashable]:
    """What must be equal for two calls to be joined, by the names of the arguments.

    *is_exact* also asks for equal sizes within lists. *digest* gives the values of a tensor that all rows share.

    Raises:
        Unjoinable: if an argument is of a kind that is not known here, such as a cache.
    """
    key: dict[str, Hashable] = {}
    _add_to_key(key, arguments, rows, prefix="", digest=digest, is_exact=is_exact)
    return key


def has_rows(value: Any, rows: int, *, name: str) -> bool:
    """Whether *value*, the argument *name* of a call with *rows*, has an entry for each of them."""
    if isinstance(value, list):
        return len(value) == rows
    least_dimensions = 3 if name in SHARED_INPUTS else 1  # position ids have rows only where they have three
    return isinstance(value, torch.Tensor) and value.ndim >= least_dimensions and value.shape[0] == rows


def has_lists(arguments: Arguments, rows: int) -> bool:
    """Whether rows come as lists of tensors, whose sizes may differ from row to row."""
    return any(isinstance(v, list) and len(v) == rows and isinstance(v[0], torch.Tensor) for v in arguments.values())


def collate(calls: Sequence[tuple[Arguments, int]]) -> Arguments:
    """One call with the rows of all *calls*, which have equal keys, in their order."""
    first, _ = calls[0]
    return {name: _join([(call[name], rows) for call, rows in calls], name=name) for name in first}


def slice_rows(arguments: Arguments, rows: int, *, start: int, stop: int) -> Arguments:
    """The call with only the rows *start* to *stop* of a call with *rows*."""
    return {name: _take(value, rows, name=name, part=slice(start, stop)) for name, value in arguments.items()}


def pad(arguments: Arguments, rows: int, *, to: int) -> Arguments:
    """The call filled up to *to* rows by repeating its last row, so that no row's values depend on the filling."""
    if rows == to:
        return arguments
    last = slice_rows(arguments, rows, start=rows - 1, stop=rows)
    return collate([(arguments, rows), *[(last, 1)] * (to - rows)])


def split_output(output: Any, counts: Sequence[int]) -> list[Any]:
    """The output of a joined call as one output for each of its members, which had *counts* rows.

    Raises:
        Unjoinable: if it holds something whose rows cannot be told, such as a cache.
    """
    parts: list[Any] = []
    start, rows = 0, sum(counts)
    for count in counts:
        parts.append(_part_of_output(output, rows, slice(start, start + count)))
        start += count
    return parts


def join_outputs(outputs: Sequence[Any], *, counts: Sequence[int]) -> Any:
    """The outputs of calls with *counts* rows each, as of one call; of a kind that `split_output` can split."""
    first = outputs[0]
    if len(outputs) == 1:
        return first
    if isinstance(first, torch.Tensor):
        return torch.cat(list(outputs)) if first.ndim and first.shape[0] == counts[0] else first
    if isinstance(first, list) and len(first) == counts[0]:
        return [item for output in outputs for item in output]
    if isinstance(first, tuple | list):
        return type(first)(join_outputs(column, counts=counts) for column in zip(*outputs, strict=True))
    if isinstance(first, Mapping):
        columns = {name: [output[name] for output in outputs] for name in first}
        return type(first)(**{name: join_outputs(column, counts=counts) for name, column in columns.items()})
    return first


def tensors_in(output: Any) -> list[torch.Tensor]:
    """All tensors of an output, in its order."""
    if isinstance(output, torch.Tensor):
        return [output]
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return [tensor for value in values for tensor in tensors_in(value)]


def _add_to_key(
    key: dict[str, Hashable], arguments: Arguments, rows: int, *, prefix: str, digest: Digest, is_exact: bool
) -> None:
    for name, value in arguments.items():
        place = prefix + name
        if value is None:  # the most frequent one
            key[place] = "None"
        elif isinstance(value, torch.Tensor):
            if has_rows(value, rows, name=name):
                key[place] = ("rows", value.shape[1:], value.dtype, value.device)
                if name in SHARED_INPUTS:
                    key[place + " (value)"] = digest(value[0])
            else:
                key[place] = ("shared", digest(value))
        elif isinstance(value, dict):
            _add_to_key(key, value, rows, prefix=place + ".", digest=digest, is_exact=is_exact)
        elif isinstance(value, list) and len(value) == rows:
            key[place] = ("list", frozenset(_item_key(item, is_exact=is_exact) for item in value))
        elif isinstance(value, _PLAIN) or (isinstance(value, list | tuple) and all(_is_plain(item) for item in value)):
            key[place] = repr(value)
        else:
            raise Unjoinable(f"{place} is a {type(value).__name__}")


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, list | tuple) and all(_is_plain(item) for item in value))


def _item_key(item: Any, *, is_exact: bool) -> Hashable:
    if isinstance(item, torch.Generator):
        return "generator"  # each row's own
    if not isinstance(item, torch.Tensor):
        if not _is_plain(item):
            raise Unjoinable(f"a list of {type(item).__name__}")
        return repr(item)
    if is_exact:
        return (item.shape, item.dtype, item.device)
    # Sizes may differ, but rows are padded to the largest: only sizes within a factor of two share a forward.
    size = item.numel().bit_length() if item.ndim > 2 else item.shape[-1]  # noqa: PLR2004  # above: an image, below: text
    return (size, item.dtype, item.device)


def _join(values: Sequence[tuple[Any, int]], *, name: str) -> Any:
    value, rows = values[0]
    if isinstance(value, dict):
        return {k: _join([(v[k], n) for v, n in values], name=k) for k in value}
    if not has_rows(value, rows, name=name):
        return value
    if isinstance(value, list):
        return [item for items, _ in values for item in items]
    return torch.cat([tensor for tensor, _ in values])


def _take(value: Any, rows: int, *, name: str, part: slice) -> Any:
    if isinstance(value, dict):
        return {k: _take(v, rows, name=k, part=part) for k, v in value.items()}
    return value[part] if has_rows(value, rows, name=name) else value


def _part_of_output(output: Any, rows: int, part: slice) -> Any:
    if isinstance(output, torch.Tensor):
        if not output.ndim or output.shape[0] != rows:
            raise Unjoinable(f"an output of shape {tuple(output.shape)} for {rows} rows")
        return output[part]
    if isinstance(output, list) and len(output) == rows:
        return output[part]
    if isinstance(output, tuple | list):
        return type(output)(_part_of_output(value, rows, part) for value in output)
    if isinstance(output, Mapping):
        return type(output)(**{name: _part_of_output(value, rows, part) for name, value in output.items()})
    if isinstance(output, _PLAIN):
        return output
    raise Unjoinable(f"an output that holds a {type(output).__name__}")
