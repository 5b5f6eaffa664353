"""Encoding: an image becomes a file, with what made it inside."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, PngImagePlugin
from PIL.ExifTags import IFD, Base
from pydantic import JsonValue

from imagefleet.jobs import ImageFormat
from imagefleet_worker.settings import EncodingSettings

#: From this quality on, JPEG keeps the full resolution of colour.
_FULL_COLOUR_QUALITY = 95


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


def encode(
    image: Image.Image,
    *,
    format: ImageFormat,  # noqa: A002  # the contract's word
    quality: int | None,
    seed: int,
    parameters: Mapping[str, JsonValue],
    settings: EncodingSettings,
) -> EncodedImage:
    """Write *image* as a file of *format*; *parameters* go inside as JSON unless the settings forbid it.

    In PNG they are the text `parameters`, in WebP and JPEG the EXIF `UserComment`. Without *quality*, WebP is lossless.
    """
    text = json.dumps(parameters, ensure_ascii=False) if settings.embed_parameters else ""
    buffer = io.BytesIO()
    # A copy, because saving writes options into the image object, and two threads would exchange theirs.
    picture = image.convert("RGB") if format is ImageFormat.JPEG else image.copy()
    picture.save(buffer, **_options(format, quality, text=text, settings=settings))
    data = buffer.getvalue()
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
    text: str,
    settings: EncodingSettings,
) -> dict[str, Any]:
    if format is ImageFormat.PNG:
        info = PngImagePlugin.PngInfo()
        if text:
            info.add_itxt("parameters", text) if not text.isascii() else info.add_text("parameters", text)
        return {"format": "PNG", "compress_level": settings.png_level, "pnginfo": info}
    exif = _exif(text)
    if format is ImageFormat.JPEG:
        chosen = quality or settings.jpeg_quality
        sampling = {"subsampling": 0} if chosen >= _FULL_COLOUR_QUALITY else {}
        return {"format": "JPEG", "quality": chosen, "exif": exif, **sampling}
    kind: dict[str, Any] = {"lossless": True} if quality is None else {"quality": quality}
    return {"format": "WEBP", "method": settings.webp_method, "exif": exif, **kind}


def _exif(text: str) -> bytes:
    exif = Image.Exif()
    if text:
        exif[Base.Software] = "imagefleet"
        comment = b"UNICODE\0" + text.encode("utf-16-be")
        exif.get_ifd(IFD.Exif)[Base.UserComment] = comment
    return exif.tobytes()
