"""The revision of a model: the same weights have the same one on every host, wherever their folder came from."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from imagefleet_worker.settings import ModelSettings

#: The first bytes of a weight file hold the whole header of most safetensors files.
_SAMPLE_BYTES: Final = 65_536
_INDEX: Final = "model_index.json"
_WEIGHTS: Final = ".safetensors"
#: What pipelines read besides weights: configurations, vocabularies, tokenizers.
_READ: Final = frozenset({".json", ".txt", ".model", ".jinja", ".tiktoken", _WEIGHTS})
_VARIANTS: Final = (
    re.compile(r"^[^.]+\.(?P<variant>[^.]+?)(-\d+-of-\d+)?\.safetensors$"),
    re.compile(r"^[^.]+\.safetensors\.index\.(?P<variant>[^.]+)\.json$"),
)
#: Where a file was saved, and by which version, is nothing that a model computes with.
_NOT_COMPUTED_WITH: Final = ("_name_or_path", "_diffusers_version", "transformers_version")


def revision_of(settings: ModelSettings) -> str:
    """What identifies the weights: the repository's commit, or `sha256:` over what is loaded of a folder.

    Of each weight file its name, its size, the first and the last bytes count; of other files the content.
    """
    folder = Path(settings.source)
    if settings.revision and not folder.is_dir():
        return settings.revision
    digest = hashlib.sha256()
    for path in sorted(_loaded(folder, settings.variant)):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(_sample(path) if path.suffix == _WEIGHTS else _content(path))
    return f"sha256:{digest.hexdigest()}"


def _loaded(folder: Path, variant: str | None) -> Iterator[Path]:
    """The files of *folder* that a pipeline reads: its index, and those of the parts that the index names."""
    index = folder / _INDEX
    parts: dict[str, Any] = json.loads(index.read_text("utf-8")) if index.is_file() else {}
    yield from filter(Path.is_file, [index])
    for name in parts:
        part = folder / name
        if name.startswith((".", "_")) or not part.is_dir():
            continue
        files = [path for path in part.iterdir() if path.is_file() and path.suffix in _READ and path.name[0] != "."]
        yield from _of_variant(files, variant)


def _of_variant(files: list[Path], variant: str | None) -> list[Path]:
    """*files* without the weights of other variants; a part without the wanted variant is loaded in its plain form."""
    weights = [path for path in files if _WEIGHTS in path.suffixes]
    found = {path: _variant_of(path) for path in weights}
    wanted = variant if variant in found.values() else None
    chosen = [path for path in weights if found[path] == wanted] or weights
    return [path for path in files if path not in found] + chosen


def _variant_of(path: Path) -> str | None:
    return next((match["variant"] for pattern in _VARIANTS if (match := pattern.match(path.name))), None)


def _content(path: Path) -> bytes:
    """The content of a file; of a configuration, what a model computes with."""
    content = path.read_bytes()
    if path.suffix != ".json":
        return content
    try:
        found = json.loads(content)
    except ValueError:
        return content
    if isinstance(found, dict):
        found = {name: value for name, value in found.items() if name not in _NOT_COMPUTED_WITH}
    return json.dumps(found, sort_keys=True).encode()


def _sample(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_SAMPLE_BYTES)
        file.seek(max(0, size - _SAMPLE_BYTES))
        return b"%d\0%s%s" % (size, head, file.read(_SAMPLE_BYTES))
