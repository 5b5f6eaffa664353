"""What the doctor says of a model's files, each wrong in one way."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.doctor import context, write_model, write_safetensors

from imagefleet_worker.doctor import safetensors_files
from imagefleet_worker.doctor.checks.model_files import check_permissions, check_safetensors
from imagefleet_worker.doctor.outcome import CheckStatus

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with which all is well."""
    return write_model(tmp_path / "model")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def files(model: Path):
    return check_safetensors(context(model={"source": str(model)}))


def permissions(model: Path):
    return check_permissions(context(model={"source": str(model)}))


def test_a_good_folder_is_found_good(model):
    assert files(model).status is CheckStatus.OK
    assert files(model).facts == {"files": 2}
    assert permissions(model).status is CheckStatus.OK


def test_a_part_with_nothing_but_pickles_fails(model):
    (model / "unet" / "diffusion_pytorch_model.safetensors").rename(model / "unet" / "diffusion_pytorch_model.bin")
    outcome = files(model)
    assert outcome.status is CheckStatus.FAILED
    assert "only pickled weights in unet" in outcome.sentence
    assert "safe_serialization=True" in outcome.sentence


@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.bin", "model.ckpt", "pipeline.py"])
def test_what_can_run_code_beside_the_weights_is_a_warning(model, name):
    (model / name).write_bytes(b"anything")
    outcome = files(model)
    assert outcome.status is CheckStatus.WARNING
    assert name in outcome.sentence


def test_a_folder_without_an_index_or_without_weights_fails(model, tmp_path):
    empty = write_model(tmp_path / "empty")
    for path in safetensors_files.files_in(empty):
        if path.suffix == ".safetensors":
            path.unlink()
    assert "is it complete" in files(empty).sentence
    (model / "model_index.json").unlink()
    assert "holds no model_index.json" in files(model).sentence


def test_a_repository_that_is_not_here_yet_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    examined = context(model={"source": "somebody/some-model", "revision": COMMIT})
    assert check_safetensors(examined).status is CheckStatus.SKIPPED
    assert check_permissions(examined).status is CheckStatus.SKIPPED


@pytest.mark.parametrize("name", [".", "unet", "unet/diffusion_pytorch_model.safetensors"])
def test_what_everybody_may_write_to_fails(model, name):
    path = model / name
    path.chmod(path.stat().st_mode | 0o002)
    outcome = permissions(model)
    assert outcome.status is CheckStatus.FAILED
    assert f"every user may write to {name}," in outcome.sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_another_user_cannot_read_fails_for_that_user_and_warns_root(open_folder):
    model = write_model(open_folder / "model")
    (model / "vae" / "diffusion_pytorch_model.safetensors").chmod(0o600)
    assert permissions(model).status is CheckStatus.WARNING
    code = (
        "import os\n"
        "from tests.support.doctor import context\n"
        "from imagefleet_worker.doctor.checks.model_files import check_permissions\n"
        "os.setgid(65534); os.setuid(65534)\n"  # now, because the other user may not read this Python either
        f"print(check_permissions(context(model={{'source': {str(model)!r}}})).sentence)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "user 65534 cannot read vae/diffusion_pytorch_model.safetensors" in done.stdout


def test_bytes_are_counted_by_number_format(tmp_path):
    paths = [write_safetensors(tmp_path / f"{i}.safetensors", kind, size=8) for i, kind in enumerate(("F32", "BF16"))]
    assert safetensors_files.bytes_by_dtype(paths) == {"F32": 8, "BF16": 8}


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\x04\0\0\0\0\0\0\0{...}"])
def test_what_is_no_safetensors_file_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(safetensors_files.HeaderBroken, match=r"model\.safetensors"):
        safetensors_files.bytes_by_dtype([path])


def test_the_files_of_a_variant_are_those_that_are_read(tmp_path):
    plain = write_safetensors(tmp_path / "model.safetensors")
    half = write_safetensors(tmp_path / "model.fp16.safetensors", "F16")
    assert safetensors_files.weight_files(tmp_path, variant=None) == [plain]
    assert safetensors_files.weight_files(tmp_path, variant="fp16") == [half]
