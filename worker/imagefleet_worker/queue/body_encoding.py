"""The encoding of a body: base64, compression and character set, undone within a limit of size.

These are the methods of compression that kombu has without other packages. None of them executes what it reads.
"""

import base64
import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

#: Bytes of a body, after it is decompressed: a few kB can stand for gigabytes.
MOST_BYTES: Final = 16 * 2**20
#: Bytes that reading the format of xz may take; its largest preset needs 65 MiB.
_LZMA_MEMORY: Final = 128 * 2**20
#: zlib reads its own format and that of gzip.
_ZLIB_OR_GZIP: Final = zlib.MAX_WBITS + 32

_CHARSETS: Final = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii", "binary": "utf-8"}


class UnreadableBody(ValueError):
    """The body cannot be read; the message says why."""


class _Inflated(NamedTuple):
    data: bytes
    is_complete: bool


def _zlib(data: bytes) -> _Inflated:
    reader = zlib.decompressobj(_ZLIB_OR_GZIP)
    return _Inflated(reader.decompress(data, MOST_BYTES + 1), reader.eof)


def _bz2(data: bytes) -> _Inflated:
    reader = bz2.BZ2Decompressor()
    return _Inflated(reader.decompress(data, MOST_BYTES + 1), reader.eof)


def _lzma(data: bytes) -> _Inflated:
    reader = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
    return _Inflated(reader.decompress(data, MOST_BYTES + 1), reader.eof)


_METHODS: Final[dict[str, Callable[[bytes], _Inflated]]] = {
    **dict.fromkeys(("application/x-gzip", "gzip", "zlib"), _zlib),
    **dict.fromkeys(("application/x-bz2", "bzip2", "bzip"), _bz2),
    **dict.fromkeys(("application/x-lzma", "lzma", "xz"), _lzma),
}


def decode(body: str, *, body_encoding: str | None, compression: str | None, charset: str | None) -> str:
    """The text of *body*.

    Args:
        body: As it lies in the message.
        body_encoding: None, or `base64`.
        compression: None, or the name of a method as kombu has it.
        charset: None for UTF-8, or its name.

    Raises:
        UnreadableBody: If it is not what these names say, or larger than `MOST_BYTES`.
    """
    if body_encoding not in {None, "", "base64"}:
        raise UnreadableBody(f"body_encoding {body_encoding!r} is not known; send base64, or text without it")
    encoding = _CHARSETS.get((charset or "utf-8").lower())
    if encoding is None:
        raise UnreadableBody(f"content-encoding {charset!r} is not read; send utf-8")
    try:
        data = base64.b64decode(body, validate=True) if body_encoding == "base64" else body.encode()
    except ValueError as error:
        raise UnreadableBody(f"the body is no base64: {error}") from error
    data = _decompress(data, compression) if compression else data
    if len(data) > MOST_BYTES:
        raise UnreadableBody(f"the body is larger than {MOST_BYTES:,} bytes")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"the body is no {encoding}: {error.reason}") from error


def _decompress(data: bytes, method: str) -> bytes:
    decompress = _METHODS.get(method)
    if decompress is None:
        raise UnreadableBody(f"compression {method!r} is not read; send gzip, bzip2, xz or none")
    try:
        inflated, is_complete = decompress(data)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise UnreadableBody(f"the body is not compressed with {method}: {error}") from error
    if not is_complete and len(inflated) <= MOST_BYTES:
        raise UnreadableBody(f"the body ends before its compression with {method} does")
    return inflated
