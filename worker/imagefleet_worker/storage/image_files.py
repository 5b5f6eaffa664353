"""Image files: an image as PNG, WebP or JPEG, with the parameters that made it inside."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, PngImagePlugin
from PIL.ExifTags import IFD, Base
from pydantic import JsonValue

from imagefleet.contract.jobs import ImageFormat
from imagefleet_worker.settings import EncodingSettings
from imagefleet_worker.storage.parameters_text import fit_parameters
from imagefleet_worker.storage.provenance import IPTC_XMP, Provenance

#: From this quality on, JPEG keeps the full resolution of colour.
_FULL_COLOUR_QUALITY: Final = 95
#: A JPEG segment holds 65,533 bytes, the rest of the EXIF data included.
_EXIF_BYTES: Final = 64_000
#: Pillow does not read longer text from a PNG.
_PNG_TEXT_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """One image file in memory."""

    data: bytes
    #: Of `data`, in hexadecimal.
    sha256: str
    #: Pixels.
    width: int
    #: Pixels.
    height: int
    seed: int
    format: ImageFormat
    #: What a checker says of the image; None without one.
    labels: dict[str, JsonValue] | None = None


def encode_image(
    image: Image.Image,
    *,
    format: ImageFormat,  # noqa: A002  # the contract's word
    quality: int | None,
    seed: int,
    parameters: Mapping[str, JsonValue],
    settings: EncodingSettings,
    provenance: Provenance = Provenance(),  # noqa: B008  # it never changes
) -> EncodedImage:
    """Encode *image* as *format*, with *parameters* inside as JSON unless the settings forbid it.

    In PNG they are the text `parameters`, in WebP and JPEG the EXIF `UserComment`; a prompt that is too long is cut.
    Without *quality*, WebP is lossless and JPEG has the settings' quality. Many threads may call it, even with the same
    *image*, which it does not change.

    Raises:
        SigningFailed: If *provenance* has a signer that cannot sign.
    """
    buffer = io.BytesIO()
    # Saving writes options into the image object, and two threads would mix theirs; so a copy is saved.
    picture = image.convert("RGB") if format is ImageFormat.JPEG else image.copy()
    embedded = parameters if settings.embed_parameters else {}
    xmp = IPTC_XMP.encode() if provenance.iptc else None
    picture.save(buffer, **_options(format, quality, parameters=embedded, settings=settings, xmp=xmp))
    data = buffer.getvalue()
    if provenance.signer:  # last: it signs the bytes as they are stored
        data = provenance.signer.sign(data, format)
    return EncodedImage(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        width=image.width,
        height=image.height,
        seed=seed,
        format=format,
    )


def _options(
    format: ImageFormat,  # noqa: A002  # the contract's word
    quality: int | None,
    *,
    parameters: Mapping[str, JsonValue],
    settings: EncodingSettings,
    xmp: bytes | None,
) -> dict[str, Any]:
    if format is ImageFormat.PNG:
        return {"format": "PNG", "compress_level": settings.png_level, "pnginfo": _png_text(parameters, xmp)}
    inside: dict[str, Any] = {"exif": _exif(parameters)} if parameters else {}
    if xmp:
        inside["xmp"] = xmp
    if format is ImageFormat.JPEG:
        chosen = settings.jpeg_quality if quality is None else quality
        sampling = {"subsampling": 0} if chosen >= _FULL_COLOUR_QUALITY else {}
        return {"format": "JPEG", "quality": chosen, **inside, **sampling}
    kind: dict[str, Any] = {"lossless": True} if quality is None else {"quality": quality}
    return {"format": "WEBP", "method": settings.webp_method, **inside, **kind}


def _png_text(parameters: Mapping[str, JsonValue], xmp: bytes | None) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    if xmp:
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    if parameters:
        text = fit_parameters(parameters, most=_PNG_TEXT_BYTES, weigh=lambda text: len(text.encode()))
        add = info.add_text if text.isascii() else info.add_itxt  # tEXt is Latin-1, iTXt is UTF-8
        add("parameters", text)
    return info


def _exif(parameters: Mapping[str, JsonValue]) -> bytes:
    text = fit_parameters(parameters, most=_EXIF_BYTES, weigh=lambda text: len(text.encode("utf-16-be")))
    exif = Image.Exif()  # big-endian, and so is the comment in it
    exif[Base.Software] = "imagefleet"
    exif.get_ifd(IFD.Exif)[Base.UserComment] = b"UNICODE\0" + text.encode("utf-16-be")
    return exif.tobytes()
