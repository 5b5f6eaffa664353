"""An embedded S3: moto's server as a child process, on 127.0.0.1, for one machine and for tests.

It accepts any credentials.
"""

import sys
import time
from pathlib import Path
from typing import Final

import httpx

from imagefleet_worker.errors import LocalUnavailable
from imagefleet_worker.supervision.child_process import ChildProcess, free_port, is_taken

_START_S: Final = 30


class EmbeddedS3:
    """An S3 server that this process starts and stops, with one bucket."""

    def __init__(
        self, logs: Path, *, objects: Path | None = None, bucket: str = "images", port: int | None = None
    ) -> None:
        """Prepare a server on *port*, or on a free one, that logs into the folder *logs*.

        It keeps what it stores in the folder *objects*, or without one in memory.
        """
        self._logs = logs
        self._objects = objects
        self.bucket = bucket
        self.port = port or free_port()
        self.child: ChildProcess | None = None

    @property
    def endpoint_url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The variables with which a worker, and boto3 anywhere, uses it."""
        return {
            "IMAGEFLEET_STORAGE_ENDPOINT_URL": self.endpoint_url,
            "IMAGEFLEET_STORAGE_BUCKET": self.bucket,
            "IMAGEFLEET_STORAGE_REGION": "us-east-1",
            "IMAGEFLEET_STORAGE_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",  # made up: the server checks none
        }

    def start(self) -> None:
        """Start it, and return when its bucket is there.

        Raises:
            LocalUnavailable: where its port is taken, or it does not answer within half a minute.
        """
        if is_taken(self.port):
            raise LocalUnavailable(f"port {self.port} is taken; choose another for the embedded S3")
        kept = [str(self._objects)] if self._objects else []
        command = [sys.executable, "-m", "imagefleet_worker.local.s3_app", str(self.port), *kept]
        self.child = ChildProcess("s3", command, log=self._logs / "s3.log")
        deadline = time.monotonic() + _START_S
        while not self._has_bucket():
            if not self.child.is_running or time.monotonic() > deadline:
                self.child.kill()
                raise LocalUnavailable(
                    f"the embedded S3 does not answer on port {self.port} (pip install 'imagefleet[local]'):\n"
                    + self.child.log_tail()
                )
            time.sleep(0.05)  # a server that starts gives no sign to wait for

    def stop(self) -> None:
        """End it."""
        if self.child is not None:
            self.child.stop()

    def _has_bucket(self) -> bool:
        try:
            return httpx.put(f"{self.endpoint_url}/{self.bucket}", timeout=5, trust_env=False).is_success
        except httpx.TransportError:  # not listening yet
            return False
