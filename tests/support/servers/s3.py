"""A real S3 server for tests: moto's, or the one that IMAGEFLEET_TEST_S3_ENDPOINT names (credentials in AWS_*)."""

import importlib.util
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from tests.support.needs import missing

from imagefleet_worker.local.s3_server import EmbeddedS3


@dataclass(frozen=True)
class S3:
    """A bucket on a running server."""

    endpoint_url: str
    bucket: str
    #: The variables with which a worker process uses it, credentials included.
    env: dict[str, str]
    #: A boto3 client of it.
    client: Any = field(repr=False)

    def keys(self) -> list[str]:
        """The keys of all objects in the bucket."""
        found = self.client.list_objects_v2(Bucket=self.bucket)
        return [each["Key"] for each in found.get("Contents", [])]

    def empty(self) -> None:
        """Remove all objects."""
        for key in self.keys():
            self.client.delete_object(Bucket=self.bucket, Key=key)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """A bucket that exists while the context lasts."""
    endpoint = os.environ.get("IMAGEFLEET_TEST_S3_ENDPOINT")
    if endpoint:
        yield from _elsewhere(endpoint)
        return
    if importlib.util.find_spec("moto") is None:
        missing("no moto; pip install -e '.[local]'")
    server = EmbeddedS3(folder, bucket="imagefleet-test")
    server.start()
    try:
        yield _connect(server.environment())
    finally:
        server.stop()


def _elsewhere(endpoint: str) -> Iterator[S3]:
    s3 = _connect(
        {
            "IMAGEFLEET_STORAGE_ENDPOINT_URL": endpoint,
            "IMAGEFLEET_STORAGE_BUCKET": f"imagefleet-{uuid.uuid4().hex[:12]}",
            "IMAGEFLEET_STORAGE_REGION": "us-east-1",
            "IMAGEFLEET_STORAGE_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
    )
    s3.client.create_bucket(Bucket=s3.bucket)
    try:
        yield s3
    finally:
        s3.empty()
        s3.client.delete_bucket(Bucket=s3.bucket)


def _connect(env: dict[str, str]) -> S3:
    endpoint = env["IMAGEFLEET_STORAGE_ENDPOINT_URL"]
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )
    return S3(endpoint_url=endpoint, bucket=env["IMAGEFLEET_STORAGE_BUCKET"], env=env, client=client)
