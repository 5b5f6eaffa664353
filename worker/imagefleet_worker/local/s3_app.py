"""The process of the embedded S3: moto's server, whose objects are kept in a folder and survive a restart.

python -m imagefleet_worker.local.s3_app PORT [FOLDER]
"""

import sys
from pathlib import Path

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

from imagefleet_worker.local.kept_objects import KeptObjects


class _Quiet(WSGIRequestHandler):
    """Logs errors only: a line for each request would bury them."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


def main(port: int, folder: Path | None) -> None:
    """Serve until a signal ends this process; without *folder* objects are kept in memory only."""
    s3 = create_backend_app("s3")  # moto's own server first looks up the service of each request: a third of its time
    app = s3 if folder is None else KeptObjects(s3, folder)
    run_simple("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)  # noqa: PLR2004  # the program, port and folder
