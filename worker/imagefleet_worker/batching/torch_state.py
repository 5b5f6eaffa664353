"""Torch's settings of a thread, which a job may change round a call: kept apart from those of the other jobs.

All jobs run on one thread. A job that parks inside of `torch.autocast` or `torch.no_grad` would leave it switched on
for the job that goes on, and switch it off in the middle of that job.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch

# PyTorch has no public names for the stack of function modes.
_C: Any = torch._C  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_count_modes, _mode_at = _C._len_torch_function_stack, _C._get_function_stack_at  # noqa: SLF001
_pop_mode, _push_mode = _C._pop_torch_function_stack, _C._push_on_torch_function_stack  # noqa: SLF001
_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")
_SDP = torch.backends.cuda  # the switches of scaled_dot_product_attention are there, for the CPU as well


@dataclass(frozen=True, slots=True)
class TorchState:
    """Grad and inference mode, autocast, default dtype, attention kernels and function modes; can be compared."""

    is_inference: bool
    is_grad_enabled: bool
    autocast: tuple[tuple[bool, torch.dtype | None], ...]
    is_autocast_cached: bool
    default_dtype: torch.dtype
    attention_kernels: tuple[bool, bool, bool, bool]
    function_modes: tuple[Any, ...]

    @classmethod
    def current(cls) -> Self:
        """The state of this thread now."""
        enabled = [torch.is_autocast_enabled(device) for device in _AUTOCAST_DEVICES]
        modes: tuple[Any, ...] = ()
        if count := _count_modes():
            modes = tuple(_mode_at(i) for i in range(count))
        return cls(
            is_inference=torch.is_inference_mode_enabled(),
            is_grad_enabled=torch.is_grad_enabled(),
            autocast=tuple(
                (is_on, torch.get_autocast_dtype(device) if is_on else None)
                for device, is_on in zip(_AUTOCAST_DEVICES, enabled, strict=True)
            ),
            is_autocast_cached=torch.is_autocast_cache_enabled(),
            default_dtype=torch.get_default_dtype(),
            attention_kernels=(
                _SDP.flash_sdp_enabled(),
                _SDP.mem_efficient_sdp_enabled(),
                _SDP.math_sdp_enabled(),
                _SDP.cudnn_sdp_enabled(),
            ),
            function_modes=modes,
        )

    @contextmanager
    def active(self) -> Generator[None]:
        """Put this state in place of the thread's own for the length of the block; only what differs is touched."""
        before = TorchState.current()
        if before == self:
            yield
            return
        if before.is_inference != self.is_inference:
            # The guard keeps all that inference mode changes, and puts it back at its end, whatever ran meanwhile.
            with torch.inference_mode(self.is_inference):
                yield from self._within(before)
        else:
            yield from self._within(before)

    def _within(self, before: "TorchState") -> Generator[None]:
        _apply(self)
        try:
            yield
        finally:
            _apply(before)


def _apply(state: TorchState) -> None:
    if torch.is_grad_enabled() != state.is_grad_enabled:
        torch.set_grad_enabled(state.is_grad_enabled)
    for device, (is_on, dtype) in zip(_AUTOCAST_DEVICES, state.autocast, strict=True):
        if torch.is_autocast_enabled(device) != is_on:
            torch.set_autocast_enabled(device, is_on)
        if dtype is not None:
            torch.set_autocast_dtype(device, dtype)
    torch.set_autocast_cache_enabled(state.is_autocast_cached)
    torch.set_default_dtype(state.default_dtype)
    flash, efficient, math, cudnn = state.attention_kernels
    _SDP.enable_flash_sdp(flash)
    _SDP.enable_mem_efficient_sdp(efficient)
    _SDP.enable_math_sdp(math)
    _SDP.enable_cudnn_sdp(cudnn)
    while _count_modes():
        _pop_mode()
    for mode in state.function_modes:
        _push_mode(mode)
