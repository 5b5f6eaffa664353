"""Subjects for the doctor: settings of a test's own, and model folders that are as wrong as the test wants."""

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

from imagefleet_worker.doctor.context import CheckContext
from imagefleet_worker.settings import Settings


def context(*, rows: int = 4, steps: int | None = 2, out: Path | None = None, **groups: dict[str, Any]) -> CheckContext:
    """A context with the default settings, changed by group: `context(model={"source": "folder"})`."""
    settings = Settings.load()
    kinds = Settings.groups()
    changed = {name: kinds[name].model_validate(values) for name, values in groups.items()}
    settings = dataclasses.replace(settings, **changed)
    return CheckContext(settings, rows=rows, steps=steps, size=None, out=out, say=lambda _words: None)


def write_safetensors(path: Path, dtype: str = "F32", *, size: int = 64) -> Path:
    """A file of one tensor of *size* bytes, by the format's own rules."""
    header = json.dumps({"weight": {"dtype": dtype, "shape": [size], "data_offsets": [0, size]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    path.chmod(0o644)
    return path


def write_model(folder: Path, **dtypes: str) -> Path:
    """A folder that looks like a pipeline of the parts in *dtypes*, each with weights of that kind."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = dtypes or {"unet": "F32", "vae": "F32"}
    (folder / "model_index.json").write_text(json.dumps({name: ["diffusers", "Part"] for name in parts}))
    (folder / "model_index.json").chmod(0o644)
    for name, dtype in parts.items():
        write_safetensors(folder / name / "diffusion_pytorch_model.safetensors", dtype)
    for path in (folder, *folder.iterdir()):
        if path.is_dir():
            path.chmod(0o755)
    return folder
