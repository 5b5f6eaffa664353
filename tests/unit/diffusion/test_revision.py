"""The revision: the same weights have the same one on every host."""

import json
import shutil
from pathlib import Path

import pytest
from tests.support.models.tiny_pipelines import build

from imagefleet_worker.diffusion.revision import revision_of
from imagefleet_worker.settings import ModelSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sd", tmp_path_factory.mktemp("model") / "sd")


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def revision(folder: Path, *, variant: str | None = None) -> str:
    return revision_of(ModelSettings(source=str(folder), variant=variant))


def test_what_is_not_loaded_does_not_count(model: Path, copy: Path) -> None:
    """What downloads, version control and people leave in a folder; weights in other formats and variants."""
    for name in (".cache/huggingface/download.lock", ".git/HEAD", "README.md", "unet/README.md", "samples/one.png"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("some time stamp")
    for name in ("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/.x.json"):
        (copy / name).write_text("other weights")

    assert revision(model) == revision(copy)


def test_where_and_by_what_a_configuration_was_saved_does_not_count(model: Path, copy: Path) -> None:
    config = copy / "unet" / "config.json"
    changed = {**json.loads(config.read_text()), "_name_or_path": "/somewhere/else", "_diffusers_version": "9.9.9"}
    config.write_text(json.dumps(changed, indent=7))

    assert revision(model) == revision(copy)


@pytest.mark.parametrize("name", ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"])
def test_what_a_model_computes_with_counts(name: str, model: Path, copy: Path) -> None:
    (copy / name).write_text(json.dumps({**json.loads((copy / name).read_text()), "sample_size": 99}))

    assert revision(model) != revision(copy)


def test_the_weights_that_are_loaded_count(model: Path, copy: Path) -> None:
    """Those of the variant that the settings name, and the plain ones of parts without it."""
    plain = copy / "unet" / "diffusion_pytorch_model.safetensors"
    other = copy / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    other.write_bytes(plain.read_bytes()[:-1] + b"!")

    assert revision(copy) == revision(model)
    assert revision(copy, variant="fp16") != revision(copy)
    plain.write_bytes(other.read_bytes())
    assert revision(copy) != revision(model)
