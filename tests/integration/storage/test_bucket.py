"""Storage on a real S3 server: moto's, or the one that IMAGEFLEET_TEST_S3_ENDPOINT names."""

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.servers.flaky_s3_proxy import Fault, FlakyS3
from tests.support.servers.s3 import S3
from tests.support.servers.wrong_s3 import WrongS3

from imagefleet.contract.jobs import ImageFormat
from imagefleet.contract.results import Artifact, JobResult, JobStatus
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.errors import LeaseLost, StorageRefused, StorageUnavailable
from imagefleet_worker.settings import StorageSettings
from imagefleet_worker.storage.bucket import Storage
from imagefleet_worker.storage.image_files import EncodedImage

PARAMETERS: dict[str, Any] = {"prompt": "a dog", "negative_prompt": None, "steps": 4}
#: moto accepts every signature; the tests that need them checked run on another server.
checks_signatures = pytest.mark.skipif(
    "IMAGEFLEET_TEST_S3_ENDPOINT" not in os.environ, reason="moto checks no signatures; CI repeats this on Ceph"
)


def settings_for(s3: S3, **changes: Any) -> StorageSettings:
    values = {"bucket": s3.bucket, "endpoint_url": s3.endpoint_url, "region": "us-east-1", "path_style": True}
    return StorageSettings(**{**values, **changes})


def image(kind: ImageFormat = ImageFormat.PNG, *, size: int = 100_000) -> EncodedImage:
    """A file; storage does not look inside."""
    data = os.urandom(size)
    sha256 = hashlib.sha256(data).hexdigest()
    return EncodedImage(data=data, sha256=sha256, width=64, height=32, seed=7, format=kind)


def upload(
    storage: Storage, job_id: str, index: int, file: EncodedImage, *, parameters: dict[str, Any], attempt: str = "a1"
) -> Artifact:
    """Store a file as the attempt of that name does."""
    artifact = storage.artifact_for(job_id, index, file, attempt=attempt)
    storage.upload(artifact, file.data, parameters=parameters)
    return artifact


def result(job_id: str = "job-1", *, worker: str = "w1") -> JobResult:
    return JobResult(
        id=job_id,
        status=JobStatus.SUCCEEDED,
        worker=worker,
        finished_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        metadata={"title": "Hündchen 🐶"},
    )


@pytest.fixture
def storage(s3: S3) -> Storage:
    return Storage(settings_for(s3))


@pytest.fixture
def flaky(s3: S3) -> Iterator[FlakyS3]:
    """A proxy before the server, fair until told otherwise."""
    flaky = FlakyS3(s3.endpoint_url)
    yield flaky
    flaky.close()


@pytest.fixture
def fail(flaky: FlakyS3, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Fault | None]]:
    """Makes the next requests meet the given faults, then *rest*; gives a list of what each request met."""

    def script(*faults: Fault | None, rest: Fault | None = None) -> list[Fault | None]:
        met, coming = list[Fault | None](), iter(faults)

        def draw() -> Fault | None:
            met.append(next(coming, rest))
            return met[-1]

        monkeypatch.setattr(flaky, "draw", draw)
        return met

    return script


@pytest.mark.parametrize("kind", ImageFormat)
def test_an_upload_stores_the_bytes_and_says_where_they_are(s3: S3, storage: Storage, kind: ImageFormat) -> None:
    file = image(kind)

    artifact = upload(storage, "job-1", 3, file, parameters=PARAMETERS)

    stored = s3.client.get_object(Bucket=s3.bucket, Key=f"images/job-1/3-a1.{kind}")
    assert stored["Body"].read() == file.data
    assert stored["ContentType"] == artifact.media_type == f"image/{kind}"
    assert artifact.uri == f"s3://{s3.bucket}/images/job-1/3-a1.{kind}"
    assert (artifact.sha256, artifact.size_bytes, artifact.seed) == (file.sha256, 100_000, 7)
    assert (artifact.width, artifact.height, artifact.format, artifact.url) == (64, 32, kind, None)


def test_only_a_large_image_asks_first_if_it_would_be_taken(s3: S3, flaky: FlakyS3) -> None:
    """The question is a turn with the server, which takes longer than sending what is small."""
    storage = Storage(settings_for(s3, endpoint_url=flaky.url))

    upload(storage, "small", 0, image(size=2**20), parameters=PARAMETERS)
    storage.write_manifest(result("small"))
    assert flaky.questions == 0

    file = image(size=2**20 + 1)
    upload(storage, "large", 0, file, parameters=PARAMETERS)
    assert flaky.questions == 1
    assert s3.client.get_object(Bucket=s3.bucket, Key="images/large/0-a1.png")["Body"].read() == file.data


@pytest.mark.parametrize(
    ("prefix", "key"), [("", "j:1/0-a1.png"), ("/a/b/", "a/b/j:1/0-a1.png"), ("x", "x/j:1/0-a1.png")]
)
def test_the_prefix_stands_before_every_key(s3: S3, prefix: str, key: str) -> None:
    upload(Storage(settings_for(s3, prefix=prefix)), "j:1", 0, image(), parameters={})

    assert s3.keys() == [key]


@pytest.mark.parametrize(
    "prompt", ["a dog", "two  spaces   and\nlines\t", "ein Hündchen 🐶", 'quotes " and \\', " x ", "犬" * 10_000, "%41"]
)
def test_the_objects_metadata_say_what_made_it(s3: S3, storage: Storage, prompt: str) -> None:
    """As ASCII JSON that fits into the 2 kB that S3 keeps; a prompt that does not fit is cut."""
    file = image()
    upload(storage, "job-1", 0, file, parameters={**PARAMETERS, "prompt": prompt})

    metadata = s3.client.head_object(Bucket=s3.bucket, Key="images/job-1/0-a1.png")["Metadata"]
    told = json.loads(metadata["parameters"])
    assert (set(metadata), metadata["sha256"]) == ({"sha256", "parameters"}, file.sha256)
    assert (told["steps"], told["seed"]) == (4, 7)
    assert told["prompt"] == prompt or (told["prompt"].endswith("...") and prompt.startswith(told["prompt"][:-3]))
    assert len(told["prompt"]) > 200 or told["prompt"] == prompt
    assert metadata["parameters"].isascii()
    assert sum(len(name) + len(value) for name, value in metadata.items()) < 2048


def test_no_attempt_writes_where_another_one_has_written(s3: S3, storage: Storage) -> None:
    first = image()
    upload(storage, "job-1", 0, first, parameters={}, attempt="a1")
    upload(storage, "job-1", 0, image(), parameters={}, attempt="b2")

    assert s3.keys() == ["images/job-1/0-a1.png", "images/job-1/0-b2.png"]
    assert s3.client.get_object(Bucket=s3.bucket, Key="images/job-1/0-a1.png")["Body"].read() == first.data


def test_what_the_manifest_does_not_name_can_be_removed(s3: S3, storage: Storage) -> None:
    """Nothing of another job, even if its id begins alike."""
    kept = upload(storage, "job-1", 0, image(), parameters={}, attempt="a1")
    upload(storage, "job-1", 0, image(), parameters={}, attempt="b2")
    upload(storage, "job-10", 0, image(), parameters={}, attempt="c3")
    manifest = storage.write_manifest(result().model_copy(update={"artifacts": (kept,)}))

    storage.remove_unnamed(manifest)

    assert s3.keys() == ["images/job-1/0-a1.png", "images/job-1/result.json", "images/job-10/0-c3.png"]


def test_where_conditions_are_ignored_the_first_manifest_stays_and_nothing_of_others_is_removed(s3: S3) -> None:
    """Two attempts may both write a manifest there, each of which names its own images."""
    wrong = WrongS3(s3.endpoint_url, sign_as=s3.env)
    storage = Storage(settings_for(s3, endpoint_url=wrong.url))
    assert not storage.check()
    first = storage.write_manifest(result(worker="first"))
    upload(storage, "job-1", 0, image(), parameters={}, attempt="b2")

    second = storage.write_manifest(result(worker="second"))
    storage.remove_unnamed(second)

    assert second == first
    assert s3.keys() == ["images/job-1/0-b2.png", "images/job-1/result.json"]
    wrong.close()


def test_each_try_of_a_write_asks_first(s3: S3, flaky: FlakyS3, fail: Callable[..., Any]) -> None:
    """An answer may take so long that the lease has run out before the next try."""
    met, file = fail(Fault.INTERNAL, Fault.INTERNAL), image()
    storage, asked = Storage(settings_for(s3, endpoint_url=flaky.url)), list[int]()

    def before() -> None:
        asked.append(len(met))
        if len(met) == 2:
            raise LeaseLost("gone")

    artifact = storage.artifact_for("job-1", 0, file, attempt="a1")
    with pytest.raises(LeaseLost):
        storage.upload(artifact, file.data, parameters={}, before=before)

    assert asked == [0, 1, 2]
    assert s3.keys() == []


def test_a_presigned_url_downloads_the_same_bytes_without_credentials(storage: Storage) -> None:
    file = image()

    artifact = upload(storage, "job:1.a_b-c", 0, file, parameters={})

    answer = httpx.get(storage.presign(artifact.uri).url, trust_env=False)
    assert answer.content == file.data
    assert answer.headers["content-type"] == "image/png"


def test_a_presigned_url_is_of_the_newer_kind_and_ends_when_the_settings_say(s3: S3) -> None:
    """Without a region too: boto3 alone would make one of version 2 there."""
    url = Storage(settings_for(s3, region=None, presign_expires_s=60)).presign(f"s3://{s3.bucket}/a").url

    assert dict(httpx.URL(url).params)["X-Amz-Expires"] == "60"
    assert dict(httpx.URL(url).params)["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"


def test_links_are_for_the_host_that_clients_reach(s3: S3) -> None:
    """Uploads go to the inner host."""
    storage = Storage(settings_for(s3, public_url="https://images.example.com"))
    artifact = upload(storage, "job-1", 0, image(), parameters={})

    assert storage.presign(artifact.uri).url.startswith(
        f"https://images.example.com/{s3.bucket}/images/job-1/0-a1.png?"
    )


@pytest.mark.skipif("IMAGEFLEET_TEST_S3_ENDPOINT" in os.environ, reason="that server has one region")
def test_links_are_signed_for_the_region_of_the_bucket(s3: S3) -> None:
    name = "imagefleet-elsewhere"
    s3.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    storage = Storage(settings_for(s3, bucket=name, region=None))
    storage.check()

    url = storage.presign(f"s3://{name}/a").url
    s3.client.delete_bucket(Bucket=name)

    assert "/eu-central-1/s3/" in dict(httpx.URL(url).params)["X-Amz-Credential"]


@pytest.mark.parametrize(("credentials_s", "expires_s"), [(7200, 3600), (1800, 1800)])
def test_a_link_says_when_it_ends_with_its_credentials_at_the_latest(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials_s: int, expires_s: int
) -> None:
    now = datetime.now(UTC)
    ends = (now + timedelta(seconds=credentials_s)).isoformat()
    given = {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c", "Expiration": ends}
    (tmp_path / "given.json").write_text(json.dumps(given))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {tmp_path / 'given.json'}\n")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)

    link = Storage(settings_for(s3)).presign(f"s3://{s3.bucket}/a")

    assert abs((link.expires_at - now).total_seconds() - expires_s) < 60


@checks_signatures
def test_a_presigned_url_opens_no_other_object(storage: Storage) -> None:
    url = storage.presign(upload(storage, "job-1", 0, image(), parameters={}).uri).url
    upload(storage, "job-1", 1, image(), parameters={})

    assert httpx.get(url.replace("/0-a1.png", "/1-a1.png"), trust_env=False).status_code == 403
    assert httpx.get(url.partition("?")[0], trust_env=False).status_code == 403


def test_there_is_no_manifest_before_it_is_written(storage: Storage) -> None:
    assert storage.read_manifest("job-1") is None


def test_a_manifest_comes_back_as_it_was_written(s3: S3, storage: Storage) -> None:
    assert storage.write_manifest(result()) == result()
    assert storage.read_manifest("job-1") == result()
    assert s3.client.head_object(Bucket=s3.bucket, Key="images/job-1/result.json")["ContentType"] == "application/json"


def test_the_first_manifest_stays(storage: Storage) -> None:
    storage.write_manifest(result(worker="first"))

    assert storage.write_manifest(result(worker="second")).worker == "first"
    assert storage.read_manifest("job-1") == result(worker="first")


def test_of_manifests_written_at_once_one_wins_and_all_get_that_one(s3: S3) -> None:
    """Eight attempts, each with a client of its own as in processes of their own, five times over."""
    storages = [Storage(settings_for(s3)) for _ in range(8)]
    for turn in range(5):
        barrier = threading.Barrier(8)

        def write(number: int, job_id: str = f"job-{turn}", barrier: threading.Barrier = barrier) -> JobResult:
            barrier.wait(10)
            return storages[number].write_manifest(result(job_id, worker=f"w{number}"))

        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(write, range(8)))

        assert {each.worker for each in got} == {got[0].worker}
        assert storages[0].read_manifest(f"job-{turn}") == got[0]


def test_one_storage_serves_many_threads(s3: S3, storage: Storage) -> None:
    files = [image(size=10_000) for _ in range(64)]

    def upload_one(index: int) -> None:
        upload(storage, "job-1", index, files[index], parameters=PARAMETERS)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(upload_one, range(64)))

    for index in (0, 31, 63):
        stored = s3.client.get_object(Bucket=s3.bucket, Key=f"images/job-1/{index}-a1.png")
        assert stored["Body"].read() == files[index].data
    assert len(s3.keys()) == 64


def test_what_is_no_manifest_is_named(s3: S3, storage: Storage) -> None:
    s3.client.put_object(Bucket=s3.bucket, Key="images/job-1/result.json", Body=b"{")

    with pytest.raises(StorageRefused, match=r"images/job-1/result\.json is no manifest"):
        storage.read_manifest("job-1")


def test_artifacts_can_be_removed_and_those_that_are_gone_are_no_error(s3: S3, storage: Storage) -> None:
    uris = [upload(storage, "job-1", index, image(), parameters={}).uri for index in range(3)]

    storage.delete(uris[:2])
    storage.delete(uris[:2])

    assert s3.keys() == ["images/job-1/2-a1.png"]


def test_the_check_passes_and_leaves_nothing(s3: S3, storage: Storage) -> None:
    storage.check()

    assert s3.keys() == []


def test_a_missing_bucket_is_named(s3: S3) -> None:
    storage = Storage(settings_for(s3, bucket="imagefleet-no-such-bucket"))

    with pytest.raises(StorageRefused, match=r"bucket 'imagefleet-no-such-bucket'.*NoSuchBucket"):
        storage.check()
    with pytest.raises(StorageRefused, match="NoSuchBucket"):
        upload(storage, "job-1", 0, image(), parameters={})
    with pytest.raises(StorageRefused, match="NoSuchBucket"):
        storage.read_manifest("job-1")


def test_a_bucket_that_nobody_named_is_a_matter_of_settings(s3: S3) -> None:
    with pytest.raises(SettingsInvalid, match="IMAGEFLEET_STORAGE_BUCKET"):
        Storage(settings_for(s3, bucket=""))


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:9000", "minio:9000", "s3.example.com", "http//s3", "//s3", "ftp://s3", "http://", "http://a b"],
)
def test_an_endpoint_that_is_no_url_is_refused_before_anything_is_sent(s3: S3, endpoint: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"S3 settings cannot be used|IMAGEFLEET_STORAGE_ENDPOINT_URL"):
        Storage(settings_for(s3, endpoint_url=endpoint))


def test_missing_credentials_are_refused_at_once(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    storage = Storage(settings_for(s3))

    with pytest.raises(StorageRefused, match="credentials"):
        storage.check()
    with pytest.raises(StorageRefused, match="credentials"):
        storage.presign(f"s3://{s3.bucket}/a")


@checks_signatures
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_refused(s3: S3, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "wrong")

    with pytest.raises(StorageRefused, match=r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied"):
        Storage(settings_for(s3)).check()


@pytest.mark.parametrize(
    ("requests_before", "sentence"),
    [(0, "cannot write"), (2, "cannot read"), (3, "s3:ListBucket"), (4, "cannot remove")],
)
def test_the_check_says_which_permission_is_missing(
    s3: S3, flaky: FlakyS3, fail: Callable[..., Any], requests_before: int, sentence: str
) -> None:
    """Without s3:ListBucket S3 forbids what is missing, and a job that comes again would fail for good."""
    fail(*[None] * requests_before, Fault.DENIED)

    with pytest.raises(StorageRefused, match=sentence) as refused:
        Storage(settings_for(s3, endpoint_url=flaky.url)).check()

    assert "AccessDenied" in refused.value.message
    assert not refused.value.retryable


@pytest.mark.parametrize("fault", [Fault.INTERNAL, Fault.SLOW_DOWN, Fault.RESET, Fault.LOST_ANSWER])
def test_a_fault_that_passes_is_not_seen(s3: S3, flaky: FlakyS3, fail: Callable[..., Any], fault: Fault) -> None:
    """The upload is tried again; the image is not made again."""
    met = fail(fault)
    file = image()

    upload(Storage(settings_for(s3, endpoint_url=flaky.url)), "job-1", 0, file, parameters={})

    assert met == [fault, None]
    assert s3.client.get_object(Bucket=s3.bucket, Key="images/job-1/0-a1.png")["Body"].read() == file.data


def test_a_manifest_whose_answer_was_lost_is_still_this_attempts(
    s3: S3, flaky: FlakyS3, fail: Callable[..., Any]
) -> None:
    """The second try finds the first's object, and takes it for what it is."""
    met = fail(Fault.LOST_ANSWER)

    assert Storage(settings_for(s3, endpoint_url=flaky.url)).write_manifest(result()) == result()
    assert met == [Fault.LOST_ANSWER, None, None]


@pytest.mark.parametrize("fault", [Fault.INTERNAL, Fault.SLOW_DOWN, Fault.RESET])
def test_a_fault_that_stays_is_unavailable_after_the_tries_of_the_settings(
    s3: S3, flaky: FlakyS3, fail: Callable[..., Any], fault: Fault
) -> None:
    met = fail(rest=fault)
    storage = Storage(settings_for(s3, endpoint_url=flaky.url, attempts=2))

    for call in (
        lambda: upload(storage, "job-1", 0, image(), parameters={}),
        lambda: storage.read_manifest("job-1"),
        lambda: storage.write_manifest(result()),
        storage.check,
    ):
        met.clear()
        with pytest.raises(StorageUnavailable) as unavailable:
            call()
        assert met == [fault, fault]
        assert unavailable.value.retryable


def test_a_refusal_is_not_tried_again(s3: S3, flaky: FlakyS3, fail: Callable[..., Any]) -> None:
    met = fail(rest=Fault.DENIED)

    with pytest.raises(StorageRefused, match="AccessDenied"):
        upload(Storage(settings_for(s3, endpoint_url=flaky.url)), "job-1", 0, image(), parameters={})

    assert met == [Fault.DENIED]


def test_another_writer_without_a_manifest_is_no_success(s3: S3, fail: Callable[..., Any], flaky: FlakyS3) -> None:
    """S3 may report a conflict with a write that then fails; to say that ours is stored would lose the job."""
    storage = Storage(settings_for(s3, endpoint_url=flaky.url))
    storage.write_manifest(result())
    met: list[str] = []

    def forget_between() -> None:
        met.append("request")
        if len(met) == 2:  # the write has been refused, the read is yet to come
            s3.empty()

    flaky.draw = forget_between  # type: ignore[method-assign]  # a fault of this test only

    with pytest.raises(StorageUnavailable, match="holds no manifest"):
        storage.write_manifest(result(worker="second"))


def test_nobody_there_is_unavailable_within_seconds(s3: S3) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    storage = Storage(settings_for(s3, endpoint_url=f"http://127.0.0.1:{port}", attempts=2))
    start = time.monotonic()

    with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{port}"):
        storage.check()

    assert time.monotonic() - start < 5


def test_a_server_that_never_answers_is_unavailable_after_the_timeout(s3: S3) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        storage = Storage(settings_for(s3, endpoint_url=url, attempts=2, timeout_s=0.3))
        start = time.monotonic()

        with pytest.raises(StorageUnavailable, match=r"(?i)timeout"):
            storage.check()

    assert 0.6 <= time.monotonic() - start < 5


def test_a_slow_server_is_waited_for(s3: S3, flaky: FlakyS3, fail: Callable[..., Any]) -> None:
    flaky.weather = type(flaky.weather)(delay_s=0.3)
    met = fail(Fault.DELAY)

    upload(Storage(settings_for(s3, endpoint_url=flaky.url)), "job-1", 0, image(), parameters={})

    assert met == [Fault.DELAY]
