"""`KeptObjects`: keeps the objects of an S3 server that forgets, as files in a folder."""

import json
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wsgi import ClosingIterator

_WRITES: Final = frozenset({"PUT", "POST", "DELETE"})
_OK: Final = 200
#: What an object is stored with, besides its bytes.
_HEADERS: Final = frozenset({"content-type", "content-disposition", "content-encoding", "cache-control"})
_OF_THE_USER: Final = "x-amz-meta-"
#: Stands for an empty part of a key, as in `a//b`; `quote` makes no such name.
_EMPTY: Final = "%empty"
_HOST: Final = "http://127.0.0.1"
#: Without a signature moto answers as to a stranger. It does not check what one signs.
_SIGNED: Final = {
    "authorization": "AWS4-HMAC-SHA256 Credential=local/20000101/us-east-1/s3/aws4_request, SignedHeaders=, Signature="
}


class KeptObjects:
    """A WSGI application: *app*, an S3 server, with its objects in *folder*.

    `objects/<bucket>/<key>` has the bytes, so that people can look at images, and `headers/<bucket>/<key>` the rest.
    Whatever a request wrote, multipart or copy, is read back from *app* after it.
    """

    def __init__(self, app: Any, folder: Path) -> None:
        """Fill *app* with what *folder* holds."""
        self._app = app
        self._objects, self._headers, self._unfinished = (
            folder / name for name in ("objects", "headers", "unfinished")
        )
        self._objects.mkdir(parents=True, exist_ok=True)
        self._writing = threading.Lock()
        for path in sorted(self._objects.rglob("*")):
            if path.is_file():
                self._call("PUT", self._key_of(path), body=path.read_bytes(), headers=self._headers_of(path))
            elif path.parent == self._objects:
                self._call("PUT", self._key_of(path))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as *app* does."""
        answer = self._app(environ, start_response)
        if environ["REQUEST_METHOD"] not in _WRITES:
            return answer
        key = str(environ["PATH_INFO"]).encode("latin-1").decode()
        # Before the answer is sent: whoever has it finds the file.
        return ClosingIterator(self._and_then_keep(answer, key), getattr(answer, "close", None))

    def _and_then_keep(self, answer: Iterable[bytes], key: str) -> Iterator[bytes]:
        body = b"".join(answer)
        with self._writing:
            if key.strip("/").count("/"):
                self._keep(key)
            else:
                self._keep_bucket(key)
        yield body

    def _keep_bucket(self, key: str) -> None:
        """Keep a bucket that may have been made, or whose objects may have been removed together."""
        folder = self._objects / _as_name(key.strip("/"))
        status, _, _ = self._call("HEAD", key)
        if status == _OK:
            folder.mkdir(exist_ok=True)
        for path in folder.rglob("*"):
            if path.is_file():
                self._keep(self._key_of(path))

    def _keep(self, key: str) -> None:
        """Make the files of an object what *app* says of it."""
        name = Path(*map(_as_name, key.removeprefix("/").split("/")))
        status, headers, body = self._call("GET", key)
        try:
            if status == _OK:
                kept = {each: value for each, value in headers.items() if _is_kept(each)}
                self._write(self._headers / name, json.dumps(kept).encode())
                self._write(self._objects / name, body)
            else:
                (self._objects / name).unlink(missing_ok=True)
                (self._headers / name).unlink(missing_ok=True)
        except OSError as error:  # such as a key below another object's key, which no folder can hold
            sys.stderr.write(f"{key} is kept in memory only: {error}\n")

    def _key_of(self, path: Path) -> str:
        return "/" + "/".join(map(_as_part, path.relative_to(self._objects).parts))

    def _headers_of(self, path: Path) -> dict[str, str]:
        kept = self._headers / path.relative_to(self._objects)
        return json.loads(kept.read_text()) if kept.exists() else {}

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished.write_bytes(data)
        self._unfinished.replace(path)

    def _call(
        self, method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        environ = EnvironBuilder(
            path=quote(path), base_url=_HOST, method=method, data=body, headers=Headers({**_SIGNED, **(headers or {})})
        ).get_environ()
        answer, status, found = run_wsgi_app(self._app, environ, buffered=True)
        return int(status.split()[0]), {name.lower(): value for name, value in found.items()}, b"".join(answer)


def _is_kept(header: str) -> bool:
    return header in _HEADERS or header.startswith(_OF_THE_USER)


def _as_name(part: str) -> str:
    """*part* of a key as the name of a file or folder."""
    if part in (".", ".."):
        return part.replace(".", "%2E")
    return quote(part, safe=" ()+,=@&$!'") or _EMPTY


def _as_part(name: str) -> str:
    """The part of a key that `_as_name` made *name* of."""
    return "" if name == _EMPTY else unquote(name)
