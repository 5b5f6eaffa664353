"""A host copy: tensors on their way from the device to the host's memory, without a wait in the device loop."""

from collections.abc import Sequence

import torch


class HostCopy:
    """Begins to copy *tensors*; `wait` may be called once, from any thread."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        devices = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
        self._events: list[torch.cuda.Event] = []
        if not devices:
            self._copies = [tensor.cpu() for tensor in tensors]
            return
        self._copies = [
            torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
            for tensor in tensors
        ]
        # A thread that waits for one sleeps, and leaves the processor to the loop. Each device has a stream of its own:
        # of a model that is spread over several, the decoder need not be on the current one.
        for device in devices:
            event = torch.cuda.Event(blocking=True)
            event.record(torch.cuda.current_stream(device))
            self._events.append(event)

    def wait(self) -> list[torch.Tensor]:
        """The tensors in the host's memory, when they are there."""
        for event in self._events:
            event.synchronize()
        copies, self._copies = self._copies, []
        return copies
