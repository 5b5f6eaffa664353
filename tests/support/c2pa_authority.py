"""A certificate authority for C2PA: keys and certificates as files, and whether a stored image is signed by one."""

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem_of_key(key: Any, password: bytes | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def pem_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_usage(*, signs: bool, vouches: bool) -> x509.KeyUsage:
    """For images (*signs*), for certificates (*vouches*), or for both."""
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=vouches,
        crl_sign=vouches,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, common), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")]
    )


@dataclass(frozen=True, slots=True)
class Authority:
    """Issues certificates that readers with its own one trust."""

    name: str = "Acme test authority"
    key: Any = field(default_factory=new_key)

    @property
    def certificate(self) -> x509.Certificate:
        """Its own one."""
        basic = x509.BasicConstraints(ca=True, path_length=None)
        usage = key_usage(signs=False, vouches=True)
        return self._sign(self.key.public_key(), _name(self.name), basic, usage, begins=-400 * DAY, ends=400 * DAY)

    def issue(
        self, key: Any, *, begins: timedelta = -DAY, ends: timedelta = 30 * DAY, for_mail: bool = True
    ) -> x509.Certificate:
        """A certificate of *key*; one for signing files is, for want of a better word, one for mail."""
        basic = x509.BasicConstraints(ca=False, path_length=None)
        usage = key_usage(signs=True, vouches=False)
        extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        more = (extended,) if for_mail else ()
        return self._sign(key.public_key(), _name("images"), basic, usage, *more, begins=begins, ends=ends)

    def write(self, folder: Path, *, ends: timedelta = 30 * DAY) -> dict[str, str]:
        """A key and its certificates as files in *folder*, and the settings that name them."""
        key = new_key()
        folder.mkdir(parents=True, exist_ok=True)
        return settings_for(folder, pem_of_key(key), pem_of(self.issue(key, ends=ends)) + pem_of(self.certificate))

    def _sign(
        self,
        key: Any,
        subject: x509.Name,
        basic: x509.BasicConstraints,
        usage: x509.KeyUsage,
        *more: x509.ExtensionType,
        begins: timedelta,
        ends: timedelta,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(_name(self.name), subject, key, x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(basic, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        for each in more:
            builder = builder.add_extension(each, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def manifest_in(self, data: bytes, media_type: str) -> tuple[str, str]:
        """Whether the file *data* is Valid, or even Trusted because this authority vouches; and all that it says."""
        trust = c2pa.Settings.from_dict({"trust": {"trust_anchors": pem_of(self.certificate).decode()}})
        with c2pa.Reader(media_type, io.BytesIO(data), context=c2pa.Context(trust)) as reader:
            return str(reader.get_validation_state()), reader.json()


def settings_for(folder: Path, key: bytes, certificates: bytes) -> dict[str, str]:
    """Both as files in *folder*, and the settings that name them."""
    (folder / "tls.key").write_bytes(key)
    (folder / "tls.key").chmod(0o600)
    (folder / "tls.crt").write_bytes(certificates)
    return {"c2pa_key_file": str(folder / "tls.key"), "c2pa_certificate_file": str(folder / "tls.crt")}


def variables(settings: dict[str, str]) -> dict[str, str]:
    """*settings* as environment variables."""
    return {f"IMAGEFLEET_PROVENANCE_{name.upper()}": value for name, value in settings.items()}


def source_type_in(manifest: str) -> str:
    """How the image was made, as *manifest* says it."""
    found = json.loads(manifest)
    (assertion,) = found["manifests"][found["active_manifest"]]["assertions"]
    (action,) = assertion["data"]["actions"]
    assert (assertion["label"], action["action"]) == ("c2pa.actions.v2", "c2pa.created")
    return action["digitalSourceType"]
