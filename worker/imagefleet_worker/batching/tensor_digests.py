"""Digests of the tensors that all rows of a call share, so that the values of two jobs can be compared."""

from collections.abc import Hashable

import torch

_MOST_DIGESTS = 64


class TensorDigests:
    """Remembers the values of the tensors of one run, which hands the same ones to each of its calls."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[torch.Tensor, Hashable]] = {}

    def of(self, tensor: torch.Tensor) -> Hashable:
        """The values of *tensor*; worked out once, if a write into it would show."""
        if tensor.is_inference():  # a write into it leaves no mark
            return value_of(tensor)
        base = tensor if tensor._base is None else tensor._base  # noqa: SLF001  # a view is a new object at each step
        mark = (id(base), tensor.data_ptr(), tuple(tensor.shape), base._version)  # noqa: SLF001  # rises when written to
        known = self._known.get(mark)
        if known is None:
            if len(self._known) >= _MOST_DIGESTS:
                self._known.clear()
            known = self._known[mark] = (base, value_of(tensor))  # held, so that its id stays its own
        return known[1]


def value_of(tensor: torch.Tensor) -> Hashable:
    """The bits of *tensor*, of any number format; waits for the device."""
    raw = tensor.detach().cpu().contiguous()
    return (tensor.shape, raw.dtype, raw.flatten().view(torch.uint8).numpy().tobytes())
