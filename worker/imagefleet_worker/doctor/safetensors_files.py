"""Weights: the files of a model on disk, read by their names and headers only."""

import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from imagefleet_worker.settings import ModelSettings

#: Formats that can run code when they are read.
PICKLES: Final = frozenset({".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth"})
_SAFETENSORS: Final = ".safetensors"
#: Number formats of weights; whole numbers are positions and the like, or packed weights of a quantised model.
FLOATS: Final = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}
_LENGTH_BYTES: Final = 8
#: As the safetensors library: a longer header is no header.
_LONGEST_HEADER: Final = 100_000_000


class HeaderBroken(ValueError):
    """A file is no safetensors file."""


def find_folder(settings: ModelSettings) -> Path | None:
    """Where the files of the model are on this machine; None where they are not here yet."""
    folder = Path(settings.source)
    if folder.is_dir():
        return folder
    try:
        found = snapshot_download(settings.source, revision=settings.revision, local_files_only=True)
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError):
        return None
    return Path(found)


def files_in(folder: Path) -> list[Path]:
    """All files, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def components(folder: Path) -> dict[str, Path]:
    """The folder of each part of the pipeline, by its name in model_index.json.

    Raises:
        OSError: where there is no model_index.json.
        ValueError: where it is no JSON object.
    """
    index: Any = json.loads((folder / "model_index.json").read_text())
    if not isinstance(index, dict):
        raise ValueError("model_index.json is no JSON object")  # noqa: TRY004  # the content is wrong, not a caller
    return {name: folder / name for name in sorted(index) if (folder / name).is_dir()}


def weight_files(component: Path, *, variant: str | None) -> list[Path]:
    """The safetensors files that diffusers reads for one part of the pipeline."""
    found = [path for path in files_in(component) if path.suffix == _SAFETENSORS]
    variants = [path for path in found if variant and f".{variant}." in path.name]
    return variants or [path for path in found if len(path.name.split(".")) == len(("name", "safetensors"))] or found


def bytes_by_dtype(files: list[Path]) -> Counter[str]:
    """How many bytes of *files* are in which number format, as safetensors names them.

    Raises:
        HeaderBroken: with the file that is none.
    """
    counts: Counter[str] = Counter()
    for path in files:
        for dtype, size in _tensors(path):
            counts[dtype] += size
    return counts


def _tensors(path: Path) -> Iterator[tuple[str, int]]:
    # The format: 8 bytes with the header's length, the header as JSON, the data; see the safetensors documentation.
    with path.open("rb") as file:
        prefix = file.read(_LENGTH_BYTES)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == _LENGTH_BYTES else 0
        if not 0 < length <= _LONGEST_HEADER:
            raise HeaderBroken(f"{path.name} is no safetensors file")
        try:
            header: Mapping[str, Any] = json.loads(file.read(length))
            tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
            yield from [(tensor["dtype"], tensor["data_offsets"][1] - tensor["data_offsets"][0]) for tensor in tensors]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HeaderBroken(f"{path.name} has a broken header") from error
