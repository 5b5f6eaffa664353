"""The embedded S3 with a folder: what was stored is there again after a restart, and is a file meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from imagefleet_worker.local.s3_server import EmbeddedS3

Restart = Callable[[], Any]


@pytest.fixture
def restart(tmp_path: Path) -> Iterator[Restart]:
    """Starts the server, after its end if it runs, and gives a client of it."""
    running: list[EmbeddedS3] = []

    def start() -> Any:
        for old in running:
            old.stop()
        server = EmbeddedS3(tmp_path / "logs", objects=tmp_path / "s3")
        running[:] = [server]
        server.start()
        return boto3.client(
            "s3",
            endpoint_url=server.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(s3={"addressing_style": "path"}),
        )

    yield start
    for server in running:
        server.stop()


def test_objects_survive_a_restart_with_what_is_said_of_them(restart: Restart, tmp_path: Path) -> None:
    s3 = restart()
    odd = "a//../é %2E+.png"
    for key in ("images/one/0.png", odd, "gone"):
        s3.put_object(Bucket="images", Key=key, Body=key.encode(), ContentType="image/png", Metadata={"seed": "7"})
    s3.copy_object(Bucket="images", Key="copy", CopySource={"Bucket": "images", "Key": "images/one/0.png"})
    parts = s3.create_multipart_upload(Bucket="images", Key="parts", ContentType="text/plain")["UploadId"]
    done = s3.upload_part(Bucket="images", Key="parts", UploadId=parts, PartNumber=1, Body=b"in parts")
    whole = {"Parts": [{"ETag": done["ETag"], "PartNumber": 1}]}
    s3.complete_multipart_upload(Bucket="images", Key="parts", UploadId=parts, MultipartUpload=whole)
    s3.delete_object(Bucket="images", Key="gone")
    assert (tmp_path / "s3" / "objects" / "images" / "images" / "one" / "0.png").read_bytes() == b"images/one/0.png"

    s3 = restart()

    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="images")["Contents"]]
    assert keys == sorted(["images/one/0.png", odd, "copy", "parts"])
    again = s3.get_object(Bucket="images", Key=odd)
    assert (again["Body"].read(), again["ContentType"], again["Metadata"]) == (
        odd.encode(),
        "image/png",
        {"seed": "7"},
    )
    assert s3.get_object(Bucket="images", Key="parts")["Body"].read() == b"in parts"


def test_conditional_writes_and_removals_hold_after_a_restart(restart: Restart) -> None:
    s3 = restart()
    for key in ("a", "b", "result.json"):
        s3.put_object(Bucket="images", Key=key, Body=b"first", IfNoneMatch="*")
    s3.delete_objects(Bucket="images", Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
    s3 = restart()
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="images", Key="result.json", Body=b"second", IfNoneMatch="*")
    found = s3.list_objects_v2(Bucket="images")["Contents"]
    assert [(each["Key"], each["Size"]) for each in found] == [("result.json", 5)]
