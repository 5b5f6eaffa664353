"""Links that clients and senders sign by themselves, followed on a real S3 server."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.support import command_line
from tests.support.servers.s3 import S3

from imagefleet import AsyncClient, Client, LinkNotSigned, LinkSettings
from imagefleet.contract.results import JobResult
from imagefleet.links.link_signer import LinkSigner
from imagefleet_worker.settings import StorageSettings
from imagefleet_worker.webhooks.fresh_links import FreshLinks

IMAGE = b"an image"
OLD = "https://old.example.com/?X-Amz-Date=20200101T000000Z"


@pytest.fixture(autouse=True)
def environment(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a worker, as a client has them."""
    for name, value in {**s3.env, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    s3.client.put_object(Bucket=s3.bucket, Key="images/one/0.png", Body=IMAGE)


@pytest.fixture
def uri(s3: S3) -> str:
    return f"s3://{s3.bucket}/images/one/0.png"


def seconds_of(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])


def content_of(url: str) -> bytes:
    return httpx.get(url, trust_env=False).content


async def test_both_clients_sign_links_that_download_the_image(uri: str) -> None:
    """No Redis answers here: none is asked."""
    with Client("redis://127.0.0.1:9/0") as client:
        url = client.url(uri, expires_s=60)
        lasting = client.url(uri)
    async with AsyncClient("redis://127.0.0.1:9/0") as other:
        same = await other.url(uri, expires_s=90)

    assert [seconds_of(each) for each in (url, lasting, same)] == [60, 3600, 90]
    assert [content_of(each) for each in (url, same)] == [IMAGE] * 2


def test_a_client_signs_for_the_host_that_it_is_told(uri: str) -> None:
    storage = LinkSettings(
        public_url="https://images.example.com", region="eu-west-3", endpoint_url="http://127.0.0.1:9"
    )
    with Client(storage=storage) as client:
        url = urlsplit(client.url(uri))
    assert url.hostname
    assert url.hostname.endswith("images.example.com")
    assert "/eu-west-3/s3/" in parse_qs(url.query)["X-Amz-Credential"][0]


def test_without_credentials_boto3_or_sense_a_sentence_says_so(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client() as client:
        with pytest.raises(LinkNotSigned, match=r"'https://x/y\.png' is none"):
            client.url("https://x/y.png")
        with pytest.raises(LinkNotSigned, match="1 to 604,800 seconds"):
            client.url(uri, expires_s=0)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
        with pytest.raises(LinkNotSigned, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
            client.url(uri)
    monkeypatch.setitem(__import__("sys").modules, "botocore.exceptions", None)
    with pytest.raises(LinkNotSigned, match=r"pip install 'imagefleet\[s3\]'"):
        LinkSigner().sign(uri)


def test_a_variable_that_cannot_be_used_is_named_by_the_command(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFLEET_STORAGE_PUBLIC_URL", "images.example.com")
    ended = command_line.run("url", uri)
    assert ended.returncode == 78
    assert "IMAGEFLEET_STORAGE_PUBLIC_URL: must be an http or https URL" in ended.stderr


def test_the_command_prints_a_link_for_each_image(uri: str) -> None:
    done = command_line.run("url", uri, uri, "--valid-for", "10m")
    assert done.returncode == 0, done.stderr
    links = done.stdout.splitlines()
    assert [seconds_of(link) for link in links] == [600, 600]
    assert content_of(links[0]) == IMAGE
    (line,) = command_line.run("url", uri, "--json").stdout.splitlines()
    shown = json.loads(line)
    assert shown["uri"] == uri
    left = datetime.fromisoformat(shown["url_expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=58) < left <= timedelta(hours=1)
    assert command_line.run("url", uri, "--valid-for", "soon").returncode == 2


def event(*artifacts: dict[str, str]) -> str:
    """The end of a job, with a field that only newer workers know."""
    seen = {
        "media_type": "image/png",
        "format": "png",
        "width": 8,
        "height": 8,
        "seed": 1,
        "sha256": "0",
        "size_bytes": 8,
    }
    data = {
        "id": "one",
        "status": "succeeded",
        "finished_at": "2031-05-01T10:00:00Z",
        "artifacts": [{**seen, **artifact} for artifact in artifacts],
    }
    return json.dumps({"type": "job.succeeded", "timestamp": "2031-05-01T10:00:00Z", "data": {**data, "newer": "é"}})


def test_links_in_a_webhook_are_signed_when_it_is_sent(uri: str) -> None:
    """Those of images; what else the event says is what the worker wrote."""
    before = event({"uri": uri, "url": OLD, "url_expires_at": "2020-01-01T01:00:00Z"}, {"uri": uri})

    after = json.loads(FreshLinks(StorageSettings()).in_body(before))

    first, second = after["data"]["artifacts"]
    assert content_of(first["url"]) == IMAGE
    read = JobResult.model_validate(after["data"]).artifacts[0]
    assert read.url_expires_at
    assert timedelta(minutes=58) < read.url_expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert "url" not in second
    assert after["data"]["newer"] == "é"
    assert {**after["data"], "artifacts": []} == {**json.loads(before)["data"], "artifacts": []}


@pytest.mark.parametrize(
    "place", ["s3://secrets/images/one/0.png", "s3://{bucket}/private/0.png", "s3://{bucket}/images.png"]
)
def test_a_sender_signs_no_links_to_what_is_not_an_image_of_the_fleet(place: str, s3: S3) -> None:
    """An event comes over Redis, and not only workers may write there."""
    before = event({"uri": place.format(bucket=s3.bucket), "url": OLD})
    assert json.loads(FreshLinks(StorageSettings()).in_body(before)) == json.loads(before)


def test_a_webhook_is_sent_with_its_old_link_if_none_can_be_signed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = event({"uri": uri, "url": OLD})
    assert FreshLinks(StorageSettings(bucket="")).in_body(before) == before
    assert FreshLinks(StorageSettings(public_url="images.example.com")).in_body(before) == before
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert FreshLinks(StorageSettings()).in_body(before) == before
    for other in ("", "[]", '{"data": null}', '{"data": {"artifacts": [1]}}'):
        assert FreshLinks(StorageSettings()).in_body(other) == other
