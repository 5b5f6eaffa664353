"""Provenance: what image files say of where they come from."""

from dataclasses import dataclass
from typing import Final

import structlog

from imagefleet_worker.settings import ProvenanceSettings
from imagefleet_worker.storage.c2pa_signer import SOURCE_TYPE, C2paSigner, open_signer

log = structlog.get_logger(__name__)

#: As IPTC's standard for metadata of photos has it in XMP.
IPTC_XMP: Final = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What to write into files; nothing by default."""

    #: IPTC's digital source type.
    iptc: bool = False
    #: Signs each file; None: nobody does.
    signer: C2paSigner | None = None


def open_provenance(settings: ProvenanceSettings) -> Provenance:
    """What *settings* say. Raises SettingsInvalid as `open_signer`."""
    signer = open_signer(settings)
    if signer:
        log.info("images are signed", by=signer.key.subject, until=signer.key.ends.isoformat())
    return Provenance(iptc=settings.iptc, signer=signer)
