"""The row cache: what text encoders made of texts that come again, so that equal texts are not encoded each time.

A text's tokens are whole numbers that come from the host, what an encoder makes of them depends on nothing else, and
texts come again: every job of a model with guidance encodes the same empty negative prompt.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from imagefleet_worker.batching import collation
from imagefleet_worker.batching.collation import Arguments
from imagefleet_worker.batching.finite import finite_rows
from imagefleet_worker.batching.tensor_digests import value_of
from imagefleet_worker.batching.torch_state import TorchState
from imagefleet_worker.hardware.device_errors import is_fault

#: Arguments whose rows are those of the call. Others may only seem so, such as position ids of (3, rows, tokens).
_ROW_ARGUMENTS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_MOST_ROWS: Final = 256
#: Rows of earlier calls, which are kept if they come again: most prompts never do.
_MOST_SEEN: Final = 1024
#: A row that takes a larger part of the memory would drive out all others.
_LARGEST_PART: Final = 0.25


class RowCache:
    """Outputs of single rows of several methods, the last used ones, up to *most_bytes* of the device's memory.

    Only the device loop's thread uses it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        #: Rows that were asked for, and those of them that were not computed.
        self.rows = self.reused = 0
        self._left_alone: set[Hashable] = set()
        self._kept: OrderedDict[Hashable, _Row] = OrderedDict()
        self._bytes = 0
        self._seen: OrderedDict[int, None] = OrderedDict()

    def output(
        self, method: Hashable, arguments: Arguments, rows: int, *, make: Callable[[Arguments, int], Any]
    ) -> Any:
        """What *make*, called with arguments and their number of rows, would return for this call of *rows* rows.

        *make* is called for the rows that are not known of *method*, each of them once, or not at all. A row is kept
        when it comes in a second call.
        """
        keys = None if method in self._left_alone else _keys(method, arguments, rows)
        if keys is None:
            return make(arguments, rows)
        known = {key: row.output for key in dict.fromkeys(keys) if (row := self._find(key)) is not None}
        new: dict[Hashable, int] = {}
        for index, key in enumerate(keys):
            if key not in known:
                new.setdefault(key, index)
        if new:
            made = make(_rows_at(new.values(), arguments, rows), len(new))
            outputs = self._split(method, made, new)
            if outputs is None:
                return made if len(new) == rows else make(arguments, rows)
            known |= outputs
            self.rows += len(new)
            if len(new) == rows:
                return made
        self.rows += rows - len(new)
        self.reused += rows - len(new)
        # Copies: pipelines may write into what an encoder gave them.
        if rows == 1:
            return _copied(known[keys[0]])
        return collation.join_outputs([known[key] for key in keys], counts=[1] * rows)

    def clear(self) -> None:
        """Forget all rows, to free memory or because they may be wrong."""
        self._kept.clear()
        self._bytes = 0

    def _split(self, method: Hashable, made: Any, keys: Iterable[Hashable]) -> dict[Hashable, Any] | None:
        """The rows of *made* by their *keys*, some of which are kept; None if those of *method* cannot be split."""
        new = list(keys)
        if not _is_of_tensors(made):
            self._left_alone.add(method)
            return None
        try:
            outputs = dict(zip(new, collation.split_output(made, [1] * len(new)), strict=True))
        except Exception:  # noqa: BLE001  # an output of any class: what the model made is good all the same
            self._left_alone.add(method)
            return None
        again = [index for index, key in enumerate(new) if self._comes_again(key)]
        row_bytes = sum(tensor.nbytes for tensor in collation.tensors_in(made)) // len(new)
        if not again or row_bytes > _LARGEST_PART * self._most_bytes:
            return outputs
        try:
            finite = _finite(made)
            for index in again:
                row = _Row(_copied(outputs[new[index]]), row_bytes, None if finite is None else finite[index])
                self._keep(new[index], row)
        except Exception as error:
            if is_fault(error):
                raise
            self.clear()  # no memory for it, or a class that cannot be made anew
        return outputs

    def _comes_again(self, key: Hashable) -> bool:
        """Whether *key* was in an earlier call; the images of one job all have its prompt."""
        mark = hash(key)
        is_known = mark in self._seen
        self._seen[mark] = None
        self._seen.move_to_end(mark)
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        return is_known

    def _find(self, key: Hashable) -> "_Row | None":
        row = self._kept.get(key)
        if row is None:
            return None
        if not row.is_good():
            self._bytes -= self._kept.pop(key).bytes
            return None
        self._kept.move_to_end(key)
        return row

    def _keep(self, key: Hashable, row: "_Row") -> None:
        self._kept[key] = row
        self._bytes += row.bytes
        while self._bytes > self._most_bytes or len(self._kept) > _MOST_ROWS:
            self._bytes -= self._kept.popitem(last=False)[1].bytes


@dataclass(slots=True)
class _Row:
    output: Any
    bytes: int
    #: Whether its values are numbers, on the device: a device that failed once must not spoil all later jobs.
    finite: torch.Tensor | None

    def is_good(self) -> bool:
        """Whether its values are numbers; waits for the device the first time."""
        if self.finite is not None:
            if not bool(_on_host(self.finite)):
                return False
            self.finite = None
        return True


def _keys(method: Hashable, arguments: Arguments, rows: int) -> list[Hashable] | None:
    """What tells each row from all others, or None if the rows cannot be told; waits for the device."""
    values: list[list[bytes]] = []
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor):
            if name not in _ROW_ARGUMENTS or value.ndim != 2 or value.shape[0] != rows or value.is_floating_point():  # noqa: PLR2004  # rows, tokens
                return None
            values.append([row.tobytes() for row in _on_host(value).numpy()])
        elif isinstance(value, dict) or collation.has_rows(value, rows, name=name):
            return None
    if not values or not rows:
        return None
    shared = collation.batch_key(arguments, rows, digest=value_of, is_exact=True)
    same = (method, TorchState.current(), tuple(shared.items()))
    return [(same, row) for row in zip(*values, strict=True)]


def _rows_at(indices: Iterable[int], arguments: Arguments, rows: int) -> Arguments:
    """The call with only the rows at *indices*."""
    places = list(indices)
    if len(places) == rows:
        return arguments
    return collation.collate([(collation.slice_rows(arguments, rows, start=i, stop=i + 1), 1) for i in places])


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_cuda:  # the thread sleeps; a copy would spin, on a processor that jobs encode images with
        done = torch.cuda.Event(blocking=True)
        done.record()
        done.synchronize()
    return tensor.cpu()


def _finite(made: Any) -> torch.Tensor | None:
    """For each row whether all values of all its tensors are numbers, on the device; None if none has fractions."""
    flags = [finite_rows(tensor) for tensor in collation.tensors_in(made) if tensor.is_floating_point()]
    return torch.stack(flags).all(0) if flags else None


def _is_of_tensors(output: Any) -> bool:
    """Whether copying the tensors of *output*, and making its tuples and mappings anew, copies all of it."""
    if isinstance(output, Mapping):
        return all(map(_is_of_tensors, output.values()))
    if isinstance(output, tuple):
        return all(map(_is_of_tensors, output))
    return not isinstance(output, list)


def _copied(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.clone()
    if isinstance(output, Mapping):
        return type(output)(**{name: _copied(value) for name, value in output.items()})
    if isinstance(output, tuple):
        return type(output)(_copied(value) for value in output)
    return output
