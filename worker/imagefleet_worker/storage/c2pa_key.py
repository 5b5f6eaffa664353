"""The C2PA key: the private key that signs image files, and its certificates, as two PEM files have them.

The package cryptography comes with c2pa-python (the extra `c2pa`), so it is imported when a key is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from imagefleet.errors import SettingsInvalid, reason_of
from imagefleet_worker.settings import ProvenanceSettings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

KEY_FILE: Final = "IMAGEFLEET_PROVENANCE_C2PA_KEY_FILE"
CERTIFICATE_FILE: Final = "IMAGEFLEET_PROVENANCE_C2PA_CERTIFICATE_FILE"
#: What C2PA calls the signatures of keys on these curves.
_OF_CURVES: Final = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_LEAST_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class C2paKey:
    """A private key with the certificates that say whose it is."""

    algorithm: str
    """As C2PA names it, such as es256."""
    key: bytes = field(repr=False)
    """PKCS #8, as PEM."""
    certificates: bytes
    """As PEM: that of the key, then each that vouches for the one before."""
    subject: str
    """Who signs, such as `CN=images,O=Acme`."""
    begins: datetime
    ends: datetime
    """From then on a certificate of these is not valid any more."""


def read_key(settings: ProvenanceSettings, *, now: datetime | None = None) -> C2paKey:
    """The key of *settings*, which have one.

    Raises:
        SettingsInvalid: if a file cannot be read, the two do not fit, or the certificate is not valid *now*.
    """
    key = _private_key(_content(settings.c2pa_key_file, KEY_FILE))
    chain = _certificates(_content(settings.c2pa_certificate_file, CERTIFICATE_FILE))
    _check_fit(key, chain)
    made = C2paKey(
        algorithm=_algorithm(key),
        key=_pkcs8(key),
        certificates=b"".join(_pem(each) for each in chain),
        subject=chain[0].subject.rfc4514_string(),
        begins=max(each.not_valid_before_utc for each in chain),
        ends=min(each.not_valid_after_utc for each in chain),
    )
    moment = now or datetime.now(UTC)
    if moment >= made.ends:
        raise SettingsInvalid(f"{CERTIFICATE_FILE}: the certificate ended at {made.ends}; ask its issuer for a new one")
    if moment < made.begins:
        raise SettingsInvalid(
            f"{CERTIFICATE_FILE}: the certificate is valid from {made.begins} on; wait, or set this machine's clock"
        )
    return made


def _content(path: str, variable: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsInvalid(
            f"{variable}={path} cannot be read: {error.strerror}; name a PEM file that this user can read"
        ) from error


def _private_key(pem: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # of the extra `c2pa`
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        return load_pem_private_key(pem, password=None)
    except TypeError as error:  # it has a password
        raise SettingsInvalid(
            f"{KEY_FILE}: the key is encrypted; write it without a password: openssl pkey -in KEY -out PLAIN"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:  # their text may quote the file, so it is not shown
        raise SettingsInvalid(
            f"{KEY_FILE}: the file holds no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----; "
            "write it there"
        ) from error


def _certificates(pem: bytes) -> "Sequence[Certificate]":
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415  # of the extra `c2pa`

    try:
        return load_pem_x509_certificates(pem)
    except ValueError as error:
        raise SettingsInvalid(
            f"{CERTIFICATE_FILE}: the file holds no certificates in PEM: {reason_of(error)}; "
            "write that of the key into it, and after it those of its issuers"
        ) from error


def _check_fit(key: Any, chain: "Sequence[Certificate]") -> None:
    """Find out whether the first of *chain* is that of *key*, and each other one that of the issuer before it."""
    is_of_key = [each.public_key() == key.public_key() for each in chain]
    if not any(is_of_key):
        raise SettingsInvalid(
            f"{CERTIFICATE_FILE}: no certificate in it is that of {KEY_FILE}; name the two that were made together"
        )
    if not is_of_key[0]:
        raise SettingsInvalid(
            f"{CERTIFICATE_FILE}: certificate {is_of_key.index(True) + 1} is that of {KEY_FILE}: put it first"
        )
    for number, (issued, issuer) in enumerate(pairwise(chain), 2):
        try:
            issued.verify_directly_issued_by(issuer)
        except Exception as error:  # a wrong name, a wrong signature, or a kind of key that it does not know
            raise SettingsInvalid(
                f"{CERTIFICATE_FILE}: certificate {number} is not that of the issuer of the one before; "
                "write them in this order, the key's own first"
            ) from error


def _algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415  # of the extra `c2pa`

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _OF_CURVES:
        return _OF_CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise SettingsInvalid(
        f"{KEY_FILE}: C2PA takes no such key; make one on P-256, P-384 or P-521, with Ed25519, "
        f"or with RSA of {_LEAST_RSA_BITS} bits or more"
    )


def _pkcs8(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # of the extra `c2pa`

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificate: "Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415  # of the extra `c2pa`

    return certificate.public_bytes(Encoding.PEM)
