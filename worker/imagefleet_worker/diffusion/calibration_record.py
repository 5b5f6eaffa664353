"""The calibration record: what a warm-up measured and proved, for the next worker of the same kind."""

import hashlib
import json
from importlib.metadata import version
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from imagefleet_worker.diffusion.joining_proof import JoiningProof
from imagefleet_worker.settings import EngineSettings, ModelSettings, SpeedSettings

_PACKAGES = ("imagefleet", "torch", "diffusers", "transformers")


class CalibrationRecord(BaseModel):
    """What was found about one model on one kind of device; None if it was not asked for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    why_image_by_image: str = ""
    """Why each call of the pipeline must make one image only; empty if it may make several."""
    has_guidance: bool | None = None
    """Whether the guidance scale changes an image."""
    joining: JoiningProof | None = None
    rows_keep_their_bits: bool | None = None
    max_pixels: int | None = None
    decoder_max_pixels: int | None = None


class CalibrationRecords(Protocol):
    """Where records are kept; a record that cannot be read or written is no reason not to start."""

    def load(self, fingerprint: str) -> CalibrationRecord | None:
        """The record of this fingerprint, if there is one."""
        ...

    def save(self, fingerprint: str, record: CalibrationRecord) -> None:
        """Keep *record* for the workers that start later."""
        ...


def fingerprint_of(
    model: ModelSettings, engine: EngineSettings, speed: SpeedSettings, *, revision: str, device: str, dtype: str
) -> str:
    """What a record depends on: the weights, the device's name, the number format, settings and versions."""
    asked = {
        "revision": revision,
        "device": device,
        "dtype": dtype,
        "size": model.default_size,
        "engine": engine.model_dump(mode="json", include={"mode", "max_rows", "max_pixels", "reproducible_rows"}),
        "speed": speed.model_dump(mode="json"),
        "versions": {name: version(name) for name in _PACKAGES},
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
