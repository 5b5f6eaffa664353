"""`imagefleet url`: links to the images of jobs, signed now."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from imagefleet.cli.context import client_for, print_json
from imagefleet.cli.times import seconds_of
from imagefleet.client import Client
from imagefleet.errors import ResultTimeout
from imagefleet.links.link_signer import LinkSigner

Places = Annotated[
    list[str], typer.Argument(help="Job ids, or URIs of images such as s3://bucket/key.", show_default=False)
]
Valid = Annotated[
    str | None,
    typer.Option(
        "--valid-for", help="How long the links are valid, such as 10m. Default: IMAGEFLEET_STORAGE_PRESIGN_EXPIRES_S."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each image.")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: imagefleet url 0b6f1c5e-6d0e-4a9c-9d58-2f9f6c1f0a11 --valid-for 10m")(url)


def url(context: typer.Context, places: Places, *, valid_for: Valid = None, as_json: AsJson = False) -> None:
    """Print a download URL for each image of jobs, signed now.

    It is signed on this machine, with the credentials that boto3 finds (from the extra s3 of this package) and the
    same IMAGEFLEET_STORAGE_* variables as workers have.
    """
    expires_s = None if valid_for is None else round(seconds_of(valid_for, name="valid-for"))
    signer = LinkSigner()
    with client_for(context) as client:
        for uri in _uris(client, places):
            link = signer.sign(uri, expires_s=expires_s)
            if as_json:
                print_json({"uri": uri, "url": link.url, "url_expires_at": link.expires_at.isoformat()})
            else:
                typer.echo(link.url)


def _uris(client: Client, places: Iterable[str]) -> Iterator[str]:
    """The URIs in *places*, and those of the images of the jobs there."""
    for place in places:
        if place.startswith("s3://"):
            yield place
            continue
        result = client.get(place).result
        if result is None:
            raise ResultTimeout(
                f"job {place} has no images yet; imagefleet result --wait {place} waits for them; ask again then"
            )
        yield from (artifact.uri for artifact in result.raise_for_status().artifacts)
