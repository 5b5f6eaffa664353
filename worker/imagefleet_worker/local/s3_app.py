"""The process of the embedded S3: moto's S3, whose objects are kept in a folder and survive a restart.

python -m imagefleet_worker.local.s3_app PORT [FOLDER]

It is served by cheroot, which keeps connections open, as S3 does. Moto's own server closes each after one request, so
that a small image takes more CPU time, a part of it after the answer, when the worker goes on.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from cheroot.wsgi import Server
from moto.moto_server.werkzeug_app import create_backend_app

from imagefleet_worker.local.kept_objects import KeptObjects

#: Requests at the same time; a slow client keeps a thread for as long as its request takes.
_THREADS: Final = 32
#: Connections that stay open between two requests: 32 of each worker.
_KEPT_OPEN: Final = 1024
#: Connections that may wait to be accepted.
_BACKLOG: Final = 128
#: Seconds until a connection without a request is closed.
_IDLE_S: Final = 60


class RawUri:
    """A WSGI application: *app*, which reads keys as they were sent, and where werkzeug says them."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer as *app* does."""
        uri = str(environ["REQUEST_URI"])
        path = unquote_to_bytes(uri.partition("?")[0]).decode("latin-1")  # cheroot leaves %2F as it is
        return self._app({**environ, "RAW_URI": uri, "PATH_INFO": path}, start_response)


def main(port: int, folder: Path | None) -> None:
    """Serve until a signal ends this process; without *folder* objects are kept in memory only."""
    s3 = create_backend_app("s3")  # moto's own server first looks up the service of each request: a third of its time
    app = s3 if folder is None else KeptObjects(s3, folder)
    server = Server(("127.0.0.1", port), RawUri(app), numthreads=_THREADS, request_queue_size=_BACKLOG, timeout=_IDLE_S)
    server.keep_alive_conn_limit = _KEPT_OPEN
    try:
        server.start()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)  # noqa: PLR2004  # the program, port and folder
