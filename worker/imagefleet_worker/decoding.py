"""Decoding: one job at a time, because a decode takes the most memory, while the other jobs denoise."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch


class Decoder:
    """Takes the place of the `decode` of *vae* until `close`; a pipeline without a VAE is left as it is."""

    def __init__(self, vae: Any | None) -> None:
        self.seconds = 0.0
        self._vae = vae
        self._turn = threading.Lock()
        self._here = threading.local()
        if vae is not None:
            self._decode = vae.decode
            vae.decode = self._decode_in_turn

    def close(self) -> None:
        """Give the VAE its own `decode` back."""
        if self._vae is not None:
            del self._vae.decode

    @contextmanager
    def watching(self, *, before: Callable[[], None], after: Callable[[], None]) -> Generator[None]:
        """Call *before* and *after* each decode that this thread does within the block."""
        self._here.watcher = (before, after)
        try:
            yield
        finally:
            self._here.watcher = None

    def _decode_in_turn(self, latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        watcher: tuple[Callable[[], None], Callable[[], None]] | None = getattr(self._here, "watcher", None)
        if watcher:
            watcher[0]()
        with self._turn:
            started = time.perf_counter()
            # A VAE that is kept in float32 (see `pipelines`) may be handed latents of another kind.
            output = self._decode(latents.to(self._vae.dtype), *args, **kwargs)  # type: ignore[union-attr]  # has a VAE
            self.seconds += time.perf_counter() - started
        if watcher:
            watcher[1]()
        return output
