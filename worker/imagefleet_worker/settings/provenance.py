"""What image files say of where they come from."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.base import group


def _is_a_path(text: str) -> str:
    """*text*, unless it is the file's content: settings are shown, and a private key must not be."""
    if "-----" in text or "\n" in text:
        raise ValueError("is the path of a PEM file, not its content: write it to a file that only the worker can read")
    return text


PemFile = Annotated[str, AfterValidator(_is_a_path)]


class ProvenanceSettings(BaseSettings):
    """What image files say of where they come from (docs/provenance.md); nothing by default."""

    model_config = group("PROVENANCE")

    iptc: bool = Field(
        default=False, description="Write IPTC's digital source type trainedAlgorithmicMedia into each file, as XMP."
    )
    c2pa_key_file: PemFile = Field(
        default="", description="PEM file with the private key that signs each file's C2PA manifest; empty: none."
    )
    c2pa_certificate_file: PemFile = Field(
        default="", description="PEM file with the certificate of that key, and after it those that vouch for it."
    )

    @property
    def signs(self) -> bool:
        """Whether files are signed."""
        return bool(self.c2pa_key_file)

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if bool(self.c2pa_key_file) != bool(self.c2pa_certificate_file):
            names = ("IMAGEFLEET_PROVENANCE_C2PA_KEY_FILE", "IMAGEFLEET_PROVENANCE_C2PA_CERTIFICATE_FILE")
            there, missing = names if self.c2pa_key_file else names[::-1]
            raise ValueError(f"{missing} is not set, and {there} is: signing needs both; set it, or leave both out")
        return self
