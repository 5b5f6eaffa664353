"""The C2PA signer: puts a signed manifest into image files, which says that a model made them, and who says so."""

import io
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final

from PIL import Image

from imagefleet.contract.jobs import ImageFormat
from imagefleet.errors import SettingsInvalid, reason_of
from imagefleet_worker.errors import SigningFailed
from imagefleet_worker.settings import ProvenanceSettings
from imagefleet_worker.storage.c2pa_key import CERTIFICATE_FILE, KEY_FILE, C2paKey, read_key

#: IPTC's word for an image that a trained model has made.
SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
#: A thumbnail would add a hundred kilobytes and more, and tens of milliseconds.
_OPTIONS: Final = {"builder": {"thumbnail": {"enabled": False}}}
_GOOD: Final = ("Valid", "Trusted")


class C2paSigner:
    """Signs with *key*; safe to use from many threads. The manifest says nothing of the job."""

    def __init__(self, key: C2paKey) -> None:
        """Raises C2paError if the library cannot use *key*."""
        import c2pa  # noqa: PLC0415  # of the extra `c2pa`

        #: Who signs, and until when.
        self.key: Final = key
        self._c2pa = c2pa
        info = c2pa.C2paSignerInfo(key.algorithm, key.certificates, key.key, None)
        self._context = c2pa.Context(c2pa.Settings.from_dict(_OPTIONS), c2pa.Signer.from_info(info))

    def sign(self, data: bytes, format: ImageFormat) -> bytes:  # noqa: A002  # the contract's word
        """The image file *data* with a manifest in it.

        Raises:
            SigningFailed: If the library refuses, as it does when the certificate has ended.
        """
        signed = io.BytesIO()
        try:
            with self._c2pa.Builder(_manifest(), self._context) as builder:
                builder.sign(f"image/{format.value}", io.BytesIO(data), signed)
        except self._c2pa.C2paError as error:
            raise SigningFailed(
                f"the image cannot be signed: {reason_of(error)}; look at the key and the certificate with "
                "`imagefleet-worker doctor --only c2pa`"
            ) from error
        return signed.getvalue()

    def problem_of(self, data: bytes, format: ImageFormat) -> str:  # noqa: A002  # the contract's word
        """What is wrong with the manifest in the image file *data*; empty if it is valid."""
        try:
            with self._c2pa.Reader(f"image/{format.value}", io.BytesIO(data)) as reader:
                state, found = reader.get_validation_state(), reader.get_validation_results() or {}
        except self._c2pa.C2paError as error:
            return reason_of(error)
        failures = found.get("activeManifest", {}).get("failure", [])
        return "" if state in _GOOD else "; ".join(str(each.get("explanation")) for each in failures) or str(state)


def open_signer(settings: ProvenanceSettings) -> C2paSigner | None:
    """What signs files as *settings* say, after it has signed one and read it back; None if they say nothing.

    Raises:
        SettingsInvalid: If the package is missing, or the key and the certificate cannot sign.
    """
    if not settings.signs:
        return None
    if find_spec("c2pa") is None:
        raise SettingsInvalid(
            f"{KEY_FILE}: signing needs c2pa-python, which is not installed: pip install 'imagefleet[c2pa]'"
        )
    from c2pa import C2paError  # noqa: PLC0415  # of the extra `c2pa`

    key = read_key(settings)
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    try:
        signer = C2paSigner(key)
        problem = signer.problem_of(signer.sign(buffer.getvalue(), ImageFormat.PNG), ImageFormat.PNG)
    except (C2paError, SigningFailed) as error:
        problem = reason_of(error.__cause__ or error)
    else:
        if not problem:
            return signer
    raise SettingsInvalid(
        f"{CERTIFICATE_FILE}: C2PA does not accept this certificate: {problem}; ask an authority for one with the key "
        "usage digitalSignature and the extended key usage emailProtection (docs/provenance.md)"
    )


def _manifest() -> dict[str, Any]:
    created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    return {
        "claim_generator_info": [{"name": "imagefleet", "version": version("imagefleet")}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }
