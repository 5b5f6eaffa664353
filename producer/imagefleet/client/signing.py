"""Signing: links to images, for the two clients. The first one may ask S3 where a bucket is."""

from asyncio import to_thread

from imagefleet.contract.results import Artifact
from imagefleet.links.link_signer import LinkSigner


def signed(signer: LinkSigner, artifact: Artifact | str, *, expires_s: int | None) -> str:
    """A link to *artifact*, or to the object of a URI; raises as `LinkSigner.sign`."""
    uri = artifact if isinstance(artifact, str) else artifact.uri
    return signer.sign(uri, expires_s=expires_s).url


async def async_signed(signer: LinkSigner, artifact: Artifact | str, *, expires_s: int | None) -> str:
    """As `signed`, in a thread: the event loop goes on meanwhile."""
    return await to_thread(signed, signer, artifact, expires_s=expires_s)
