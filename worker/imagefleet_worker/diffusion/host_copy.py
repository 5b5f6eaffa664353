"""A host copy: tensors on their way from the device to the host's memory, without a wait in the device loop."""

from collections.abc import Sequence

import torch


class HostCopy:
    """Begins to copy *tensors*; `wait` may be called once, from any thread."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._event: torch.cuda.Event | None = None
        if not any(tensor.device.type == "cuda" for tensor in tensors):
            self._copies = [tensor.cpu() for tensor in tensors]
            return
        self._copies = [
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
            for tensor in tensors
        ]
        # A thread that waits for it sleeps, and leaves the processor to the loop.
        self._event = torch.cuda.Event(blocking=True)
        self._event.record()

    def wait(self) -> list[torch.Tensor]:
        """The tensors in the host's memory, when they are there."""
        if self._event is not None:
            self._event.synchronize()
        copies, self._copies = self._copies, []
        return copies
