"""The row cache: what a method made of the rows that it had last, so that equal rows are computed once.

It is made for text encoders. Their rows are whole numbers that come from the host, a row's output depends on that row
alone, and rows come again: every job of a model with guidance encodes the same empty negative prompt.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from imagefleet_worker.batching import collation
from imagefleet_worker.batching.collation import Arguments, Unjoinable
from imagefleet_worker.batching.finite import all_finite
from imagefleet_worker.batching.tensor_digests import value_of
from imagefleet_worker.batching.torch_state import TorchState


class RowCache:
    """Outputs of single rows of several methods, the last used ones, up to *most_bytes* of the device's memory.

    Only the device loop's thread uses it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._without_rows: set[Hashable] = set()
        #: Rows that were asked for, and those of them that were not computed.
        self.rows = self.reused = 0
        self._kept: OrderedDict[Hashable, _Row] = OrderedDict()
        self._bytes = 0

    def output(
        self, method: Hashable, arguments: Arguments, rows: int, *, make: Callable[[Arguments, int], Any]
    ) -> Any:
        """What *make*, called with arguments and their number of rows, would return for this call of *rows* rows.

        *make* is called for the rows that are not known of *method*, each of them once, or not at all.
        """
        keys = None if method in self._without_rows else _keys(method, arguments, rows)
        if keys is None:
            return make(arguments, rows)
        known = {key: row for key in dict.fromkeys(keys) if (row := self._find(key)) is not None}
        new: dict[Hashable, int] = {}
        for index, key in enumerate(keys):
            if key not in known:
                new.setdefault(key, index)
        made = None
        if new:
            part = collation.collate(
                [(collation.slice_rows(arguments, rows, start=i, stop=i + 1), 1) for i in new.values()]
            )
            made = make(part, len(new))
            try:
                outputs = collation.split_output(made, [1] * len(new))
            except Unjoinable:
                self._without_rows.add(method)
                return made if len(new) == rows else make(arguments, rows)
            fresh = {key: _Row.of(output) for key, output in zip(new, outputs, strict=True)}
            known |= fresh
            self._keep(fresh)
        self.rows += rows
        self.reused += rows - len(new)
        if made is not None and list(new) == keys:
            return made
        # Copies: pipelines may write into what an encoder gave them.
        if rows == 1:
            return _copied(known[keys[0]].output)
        return collation.join_outputs([known[key].output for key in keys], counts=[1] * rows)

    def _find(self, key: Hashable) -> "_Row | None":
        row = self._kept.get(key)
        if row is None:
            return None
        if not row.is_good():
            self._bytes -= self._kept.pop(key).bytes
            return None
        self._kept.move_to_end(key)
        return row

    def _keep(self, rows: Mapping[Hashable, "_Row"]) -> None:
        for key, row in rows.items():
            self._kept[key] = row
            self._bytes += row.bytes
        while self._bytes > self._most_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].bytes


@dataclass(slots=True)
class _Row:
    output: Any
    bytes: int
    #: Whether its values are numbers, on the device: a device that failed once must not spoil all later jobs.
    finite: torch.Tensor | None

    @classmethod
    def of(cls, output: Any) -> "_Row":
        """A copy of *output*: a view would keep the whole forward's output."""
        copy = _copied(output)
        tensors = collation.tensors_in(copy)
        floats = [tensor for tensor in tensors if tensor.is_floating_point()]
        finite = all_finite(floats[0]) if floats else None  # what is no number in one layer is none in the last
        return cls(copy, sum(tensor.nbytes for tensor in tensors), finite)

    def is_good(self) -> bool:
        """Whether its values are numbers; waits for the device the first time."""
        if self.finite is not None:
            if not bool(self.finite):
                return False
            self.finite = None
        return True


def _keys(method: Hashable, arguments: Arguments, rows: int) -> list[Hashable] | None:
    """What tells each row from all others, or None if that would take long; waits for the device."""
    values = _row_values(arguments, rows)
    if not values:
        return None
    key = collation.batch_key(arguments, rows, digest=value_of, is_exact=True)
    shared = (method, TorchState.current(), tuple(key.items()))
    return [(shared, row) for row in zip(*values, strict=True)]


def _row_values(arguments: Arguments, rows: int) -> list[list[bytes]] | None:
    """The bytes of the rows of each argument that has some; None if one is not of whole numbers."""
    values: list[list[bytes]] = []
    for name, value in arguments.items():
        if not isinstance(value, torch.Tensor):
            if isinstance(value, dict) or collation.has_rows(value, rows, name=name):
                return None
        elif collation.has_rows(value, rows, name=name):
            if value.is_floating_point() or value.is_complex():  # embeddings or pictures
                return None
            values.append([row.tobytes() for row in value.cpu().numpy()])
    return values


def _copied(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, Mapping):
        return type(output)(**{name: _copied(value) for name, value in output.items()})
    if isinstance(output, tuple | list):
        return type(output)(_copied(value) for value in output)
    return output
