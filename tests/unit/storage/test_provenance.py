"""Files that say where they come from: signed as C2PA has it, readable by others, and silent about the job."""

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from PIL import Image
from tests.support.c2pa_authority import (
    DAY,
    Authority,
    new_key,
    pem_of,
    pem_of_key,
    settings_for,
    source_type_in,
)

from imagefleet.contract.jobs import ImageFormat
from imagefleet.errors import SettingsInvalid
from imagefleet_worker.errors import SigningFailed
from imagefleet_worker.settings import EncodingSettings, ProvenanceSettings
from imagefleet_worker.storage import c2pa_signer
from imagefleet_worker.storage.c2pa_key import read_key
from imagefleet_worker.storage.c2pa_signer import SOURCE_TYPE, C2paSigner, open_signer
from imagefleet_worker.storage.image_files import EncodedImage, encode_image
from imagefleet_worker.storage.provenance import Provenance, open_provenance

AUTHORITY = Authority()
FORMATS = list(ImageFormat)
PARAMETERS: dict[str, Any] = {"prompt": "a secret fox", "seed": 7}


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> C2paSigner:
    signer = open_signer(ProvenanceSettings(**AUTHORITY.write(tmp_path_factory.mktemp("c2pa"))))
    assert signer
    return signer


def picture(mode: str = "RGB") -> Image.Image:
    return Image.linear_gradient("L").resize((64, 32)).convert(mode)


def made(kind: ImageFormat, provenance: Provenance, *, mode: str = "RGB", **parameters: Any) -> EncodedImage:
    return encode_image(
        picture(mode),
        format=kind,
        quality=None,
        seed=7,
        parameters=parameters,
        settings=EncodingSettings(),
        provenance=provenance,
    )


def pixels(file: EncodedImage) -> bytes:
    return Image.open(io.BytesIO(file.data)).convert("RGB").tobytes()


@pytest.mark.parametrize("parameters", [PARAMETERS, {}], ids=["embedded", "bare"])
@pytest.mark.parametrize("iptc", [True, False], ids=["iptc", "no iptc"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_signed_file_is_trusted_by_those_who_trust_the_authority(
    kind: ImageFormat, signer: C2paSigner, parameters: dict[str, Any], *, iptc: bool
) -> None:
    file = made(kind, Provenance(iptc=iptc, signer=signer), **parameters)

    state, manifest = AUTHORITY.manifest_in(file.data, f"image/{kind.value}")

    assert state == "Trusted"
    assert Authority("Somebody else").manifest_in(file.data, f"image/{kind.value}")[0] == "Valid"
    assert source_type_in(manifest) == SOURCE_TYPE == f"{SOURCE_TYPE.rpartition('/')[0]}/trainedAlgorithmicMedia"
    assert file.sha256 == hashlib.sha256(file.data).hexdigest()
    assert pixels(file) == pixels(made(kind, Provenance()))
    assert "fox" not in manifest


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_was_changed_is_not_valid(kind: ImageFormat, signer: C2paSigner) -> None:
    """Its parameters are signed, too."""
    file = made(kind, Provenance(signer=signer), **PARAMETERS)
    letters = b"secret" if b"secret" in file.data else "secret".encode("utf-16-be")
    changed = file.data.replace(letters, letters[::-1])
    assert changed != file.data
    assert AUTHORITY.manifest_in(changed, f"image/{kind.value}")[0] == "Invalid"
    assert signer.problem_of(changed, kind)
    assert signer.problem_of(file.data, kind) == ""


@pytest.mark.parametrize("kind", FORMATS)
def test_files_say_nothing_by_default(kind: ImageFormat) -> None:
    provenance = open_provenance(ProvenanceSettings())
    assert provenance == Provenance()
    data = made(kind, provenance).data
    assert not any(word in data for word in (b"c2pa", b"jumb", b"DigitalSourceType", b"http"))


@pytest.mark.parametrize("kind", FORMATS)
def test_iptc_is_xmp_that_others_find(kind: ImageFormat) -> None:
    """And needs no key."""
    image = Image.open(io.BytesIO(made(kind, Provenance(iptc=True), **PARAMETERS).data))
    found = image.info["XML:com.adobe.xmp" if kind is ImageFormat.PNG else "xmp"]
    text = found if isinstance(found, str) else found.decode()
    assert f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"' in text
    assert "fox" not in text


@pytest.mark.parametrize("mode", ["RGBA", "L"])
@pytest.mark.parametrize("kind", FORMATS)
def test_images_of_other_modes_are_signed_too(kind: ImageFormat, mode: str, signer: C2paSigner) -> None:
    assert signer.problem_of(made(kind, Provenance(signer=signer), mode=mode).data, kind) == ""


def test_many_threads_sign_at_once(signer: C2paSigner) -> None:
    kinds = FORMATS * 16
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda kind: made(kind, Provenance(signer=signer), **PARAMETERS), kinds))
    assert {signer.problem_of(file.data, kind) for file, kind in zip(files, kinds, strict=True)} == {""}


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "P-521", "Ed25519", "RSA"],
)
def test_other_kinds_of_keys_sign(key: Any, tmp_path: Path) -> None:
    certificates = pem_of(AUTHORITY.issue(key)) + pem_of(AUTHORITY.certificate)
    assert open_signer(ProvenanceSettings(**settings_for(tmp_path, pem_of_key(key), certificates)))


def good() -> tuple[bytes, bytes, bytes]:
    """A key, its certificate, and that of the authority."""
    key = new_key()
    return pem_of_key(key), pem_of(AUTHORITY.issue(key)), pem_of(AUTHORITY.certificate)


def issued(**changes: Any) -> tuple[bytes, bytes]:
    key = new_key()
    return pem_of_key(key), pem_of(AUTHORITY.issue(key, **changes)) + pem_of(AUTHORITY.certificate)


def self_signed() -> tuple[bytes, bytes]:
    alone = Authority("images")
    return pem_of_key(alone.key), pem_of(alone.certificate)


def locked() -> tuple[bytes, bytes]:
    key = new_key()
    return pem_of_key(key, b"password"), pem_of(AUTHORITY.issue(key))


def short() -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  # it must be refused
    return pem_of_key(key), pem_of(AUTHORITY.issue(key))


def in_disorder(first: int, *others: int) -> tuple[bytes, bytes]:
    key, *certificates = good()
    return key, b"".join(certificates[number] for number in (first, *others))


@pytest.mark.parametrize(
    ("make", "variable", "sentence"),
    [
        (lambda: (b"", good()[1]), "KEY_FILE", "holds no private key in PEM, which begins .* write it there"),
        (lambda: (good()[1], good()[1]), "KEY_FILE", "holds no private key in PEM"),
        (locked, "KEY_FILE", "is encrypted; write it without a password: openssl pkey"),
        (short, "KEY_FILE", "C2PA takes no such key; make one on P-256"),
        (lambda: (good()[0], b"tls.crt"), "CERTIFICATE_FILE", "holds no certificates in PEM.*; write that of the key"),
        (lambda: (good()[0], good()[1]), "CERTIFICATE_FILE", "no certificate in it is that of .*made together"),
        (lambda: in_disorder(1, 0), "CERTIFICATE_FILE", "certificate 2 is that of .*: put it first"),
        (lambda: in_disorder(0, 0), "CERTIFICATE_FILE", "certificate 2 is not that of the issuer"),
        (lambda: issued(begins=-9 * DAY, ends=-DAY), "CERTIFICATE_FILE", "ended at .*; ask its issuer for a new one"),
        (lambda: issued(begins=DAY), "CERTIFICATE_FILE", "is valid from .* on; wait, or set this machine's clock"),
        (lambda: issued(for_mail=False), "CERTIFICATE_FILE", "C2PA does not accept .*extended key usage"),
        (self_signed, "CERTIFICATE_FILE", "C2PA does not accept .*ask an authority for one"),
    ],
    ids=[
        "empty key",
        "certificate as key",
        "locked key",
        "short key",
        "no certificate",
        "another key",
        "wrong order",
        "wrong issuer",
        "ended",
        "not yet",
        "for nothing",
        "self-signed",
    ],
)
def test_what_cannot_sign_is_refused_with_its_variable_and_what_to_do(
    make: Callable[[], tuple[bytes, bytes]], variable: str, sentence: str, tmp_path: Path
) -> None:
    key, certificates = make()
    with pytest.raises(SettingsInvalid, match=f"IMAGEFLEET_PROVENANCE_C2PA_{variable}: .*{sentence}") as caught:
        open_signer(ProvenanceSettings(**settings_for(tmp_path, key, certificates)))
    assert not any(line in caught.value.message for line in key.decode().splitlines()[1:-1])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = ProvenanceSettings(**(AUTHORITY.write(tmp_path) | {"c2pa_key_file": "/nowhere/tls.key"}))
    with pytest.raises(SettingsInvalid, match=r"KEY_FILE=/nowhere/tls\.key cannot be read: No such file"):
        open_signer(settings)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(c2pa_signer, "find_spec", lambda _name: None)
    with pytest.raises(SettingsInvalid, match=r"KEY_FILE: signing needs c2pa-python.*pip install 'imagefleet\[c2pa\]'"):
        open_signer(ProvenanceSettings(**AUTHORITY.write(tmp_path)))


def test_no_image_is_left_unsigned_when_the_certificate_has_ended(tmp_path: Path) -> None:
    """As while a worker runs for longer than its certificate."""
    key = new_key()
    ended = pem_of(AUTHORITY.issue(key, begins=-9 * DAY, ends=-DAY)) + pem_of(AUTHORITY.certificate)
    settings = ProvenanceSettings(**settings_for(tmp_path, pem_of_key(key), ended))
    signer = C2paSigner(read_key(settings, now=datetime.now(UTC) - timedelta(days=5)))
    with pytest.raises(
        SigningFailed, match=r"not valid at time of signing; look at .* `imagefleet-worker doctor --only c2pa`"
    ):
        made(ImageFormat.PNG, Provenance(signer=signer))


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    settings = ProvenanceSettings(**AUTHORITY.write(tmp_path))
    secret = Path(settings.c2pa_key_file).read_text().splitlines()[1]
    signer = open_signer(settings)
    assert signer
    assert secret in signer.key.key.decode()
    assert secret not in f"{signer.key!r} {settings!r} {signer!r} {Provenance(signer=signer)!r}"
