"""Warnings: what in a result is not as the job asked, although the images were made.

The docstring of a code has its cause, then a line `Strict:` and a line `Remedy:`; docs/results.md is made of them.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class WarningCode(StrEnum):
    """The codes of warnings. A newer worker may send others: show their message."""

    PROMPT_TRUNCATED = "prompt_truncated"
    """A text encoder of the model read only the beginning of the prompt. `detail` names the encoder, its limit in
    tokens, and what was cut from which character on. Two prompts that differ only after that give the same image,
    unless `detail.read_by` names encoders that have read the whole prompt, as T5 does in FLUX and Stable Diffusion 3
    where CLIP ends at 77 tokens.
    Strict: Fails at its first step; no difference if `detail.read_by` names an encoder, for nothing is lost.
    Remedy: Shorten the text, or say first what matters most. Nothing if another encoder has read it.
    """
    IMAGE_FLAGGED = "image_flagged"
    """A safety checker has flagged the image: the model's own, which makes it black, or the one of
    IMAGEFLEET_MODEL_CHECKER, whose labels are in `detail`. A warning only if IMAGEFLEET_MODEL_FLAGGED is warn;
    otherwise the job fails.
    Strict: Fails when the images are made.
    Remedy: Change the prompt or the seed of this image.
    """
    FIELD_WITHOUT_EFFECT = "field_without_effect"
    """The pipeline took the field and did not use it: a negative prompt without guidance, the guidance of a distilled
    model, a scheduler of a pipeline that has its own.
    Strict: Refused before the device is used if the worker's warm-up has found it out; else fails at its first step.
    Remedy: Leave the field out. For a negative prompt, ask for a guidance_scale above 1.
    """
    SIZE_CHANGED = "size_changed"
    """The pipeline made an image of another size than asked for; `detail` has both sizes.
    Strict: Fails when the images are made.
    Remedy: Ask for a size that this model makes, or leave width and height out.
    """
    STEPS_CHANGED = "steps_changed"
    """The scheduler makes another number of steps than asked for; `detail` has both numbers.
    Strict: Refused before the device is used.
    Remedy: Ask for the number that it makes, or choose another scheduler.
    """
    JOINING_REFUSED = "joining_refused"
    """The worker makes jobs of this model one at a time, because joined images would not be those made alone. The image
    is as asked for, and came later than it could. `detail` has the reason.
    Strict: No difference, for the image is as asked for.
    Remedy: Read the reason; `imagefleet-worker doctor` shows it as well.
    """


class JobWarning(BaseModel):
    """One thing that is not as the job asked."""

    # A newer worker may add fields; an older producer must still read its warnings.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    code: str
    """Stable and machine-readable; the codes are below."""
    field: str | None = None
    """The field of the job that it is about."""
    image: Annotated[int | None, Field(ge=0)] = None
    """The number of the image that it is about, from 0; none if it is about all of them."""
    message: str
    """A sentence for a person."""
    detail: dict[str, JsonValue] = Field(default_factory=dict)
    """The facts behind the sentence, for programs."""
