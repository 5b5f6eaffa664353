"""Embedded parameters: what an image file and its object say of how the image was made."""

from typing import Any, Final

from imagefleet.contract.jobs import GenerationJob, to_wire
from imagefleet_worker.settings import EncodingSettings

#: The fields of a job that say how its images were made. The others do not concern whoever downloads an image.
_PARAMETERS: Final = (
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "steps",
    "guidance_scale",
    "scheduler",
    "scheduler_options",
    "num_images",
    "format",
    "quality",
)


def embedded_parameters(
    job: GenerationJob, encoding: EncodingSettings, *, model: str, revision: str | None
) -> dict[str, Any]:
    """How the images of *job* were made; empty if the job or the settings say that nobody is to know."""
    if not (job.embed and encoding.embed_parameters):
        return {}
    wire = to_wire(job)
    asked = {name: wire[name] for name in _PARAMETERS if name in wire}
    return {**asked, "model": model, "model_revision": revision}
