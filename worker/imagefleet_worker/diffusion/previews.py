"""Previews: a small picture of what a job has so far, made of its latents without the model's own decoder."""

from collections.abc import Callable
from typing import Any, Final

import torch
from PIL import Image

from imagefleet.errors import reason_of
from imagefleet_worker.diffusion.host_copy import HostCopy
from imagefleet_worker.errors import ModelUnavailable
from imagefleet_worker.settings import EngineSettings

#: Gives a preview's picture; waits for the device, so it is called outside of the device loop.
Preview = Callable[[], Image.Image]

#: Red, green and blue of each latent channel, by the number of channels and the pipeline's family.
#: Stable Diffusion 1.x: https://discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204 (-1 to 1).
#: SDXL: https://huggingface.co/docs/diffusers/using-diffusers/callback (0 to 255, with an offset).
_FACTORS: Final = {
    "StableDiffusionPipeline": (
        ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473)),
        127.5,
        (127.5, 127.5, 127.5),
    ),
    "StableDiffusionXLPipeline": (
        ((60.0, 60.0, 60.0), (-60.0, -5.0, 10.0), (25.0, 15.0, -5.0), (-70.0, -50.0, -35.0)),
        1.0,
        (150.0, 140.0, 130.0),
    ),
}
_PATCH: Final = 2
_PLANES: Final = 4
_FRAMES: Final = 5


class CannotPreview(Exception):
    """These latents are in no order that is known here."""


class Previewer:
    """Makes previews of the jobs of *pipe*; their longer side has *side* pixels, or those of a smaller image."""

    def __init__(
        self,
        pipe: Any,
        *,
        side: int,
        interval_s: float = 1.0,
        decoder: Any = None,
        device: torch.device | None = None,
    ) -> None:
        """Use *decoder*, an AutoencoderTiny for the same latents, if there is one; the latents are on *device*."""
        #: At most one preview a job in this time.
        self.interval_s = interval_s
        self._side = side
        self._decoder = decoder
        self._scale = int(getattr(pipe, "vae_scale_factor", 8))
        self._factors: tuple[torch.Tensor, float, torch.Tensor] | None = None
        if known := _FACTORS.get(type(pipe).__name__):  # moved once: each move waits for the device
            factors, scale, offset = known
            self._factors = (torch.tensor(factors, device=device), scale, torch.tensor(offset, device=device))

    @torch.no_grad()
    def begin(self, latents: torch.Tensor, *, width: int, height: int) -> Preview:
        """Begin a preview of the first image of *latents*, as the callback of a job of this size got them.

        Nothing waits for the device until somebody asks for the picture, once.

        Raises:
            CannotPreview: if they are laid out in a way that is not known.
        """
        planes = self._planes(latents[:1], width=width, height=height)
        pixels = self._decoded(planes) if self._decoder is not None else self._projected(planes)
        copy = HostCopy([pixels.clamp(0, 255).to(torch.uint8)])
        longer = max(width, height)
        side = min(self._side, longer)
        size = max(1, round(width * side / longer)), max(1, round(height * side / longer))

        def picture() -> Image.Image:
            # Latents have an eighth of the image's pixels: of most images they are smaller than the preview.
            return Image.fromarray(copy.wait()[0].numpy()).resize(size, Image.Resampling.BICUBIC)

        return picture

    def _planes(self, latents: torch.Tensor, *, width: int, height: int) -> torch.Tensor:
        """One image as (1, channels, height, width) of the latent space."""
        if latents.ndim == _PLANES:
            return latents
        if latents.ndim == _FRAMES:  # pipelines that could make videos: the first frame
            return latents[:, :, 0]
        rows, columns = height // (self._scale * _PATCH), width // (self._scale * _PATCH)
        if latents.shape[1] != rows * columns or latents.shape[2] % _PATCH**2:
            raise CannotPreview(f"no preview: latents of shape {tuple(latents.shape)} are not known for this pipeline")
        # Flux and its kin: patches of 2x2 in a row, each with all values of a channel together.
        patches = latents.reshape(1, rows, columns, -1, _PATCH, _PATCH)
        return patches.permute(0, 3, 1, 4, 2, 5).reshape(1, -1, rows * _PATCH, columns * _PATCH)

    def _projected(self, planes: torch.Tensor) -> torch.Tensor:
        """(height, width, 3) of 0 to 255: by the known colours of the channels, else the first three as they are."""
        shrunk = self._shrunk(planes)[0].float().permute(1, 2, 0)
        if self._factors and shrunk.shape[-1] == len(self._factors[0]):
            factors, scale, offset = self._factors
            return shrunk @ factors * scale + offset
        colours = shrunk[..., :3] if shrunk.shape[-1] >= 3 else shrunk[..., :1].expand(-1, -1, 3)  # noqa: PLR2004  # RGB
        low, high = colours.amin((0, 1)), colours.amax((0, 1))
        return (colours - low) / (high - low).clamp_min(1e-6) * 255

    def _shrunk(self, planes: torch.Tensor) -> torch.Tensor:
        times = max(planes.shape[-2:]) // self._side
        return torch.nn.functional.avg_pool2d(planes, times) if times > 1 else planes

    def _decoded(self, planes: torch.Tensor) -> torch.Tensor:
        decoded = self._decoder.decode(planes.to(self._decoder.dtype)).sample[0].float()
        return (decoded.permute(1, 2, 0) + 1) * 127.5


def open_previewer(pipe: Any, settings: EngineSettings, *, device: torch.device) -> Previewer:
    """The previewer for *pipe*, which computes on *device*.

    Raises:
        ModelUnavailable: if the settings name a tiny decoder that is not there, or is for other latents.
    """
    decoder = None
    if settings.preview_decoder:
        decoder = _load_decoder(settings.preview_decoder, pipe).to(device)
    return Previewer(
        pipe, side=settings.preview_side, interval_s=settings.preview_interval_s, decoder=decoder, device=device
    )


def _load_decoder(folder: str, pipe: Any) -> Any:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny  # noqa: PLC0415  # most have none

    where = "IMAGEFLEET_ENGINE_PREVIEW_DECODER"
    try:
        decoder: Any = AutoencoderTiny.from_pretrained(folder, torch_dtype=pipe.dtype, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"{where}: no AutoencoderTiny in {folder}: {reason_of(error)}; name a folder that holds one"
        ) from error
    own = int(decoder.config["latent_channels"])
    wanted = getattr(getattr(getattr(pipe, "vae", None), "config", None), "latent_channels", own)
    if own != wanted:
        raise ModelUnavailable(
            f"{where}: it is for latents of {own} channels, and the model's have {wanted}; choose another"
        )
    return decoder.eval()
