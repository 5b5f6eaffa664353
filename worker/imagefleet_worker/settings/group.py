"""Device groups: one worker that owns several devices."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from imagefleet.contract.names import in_words
from imagefleet_worker.settings.base import group

_MEMORY: Final = r"^$|^(\d+|cpu):\d+[KMG]i?B(,(\d+|cpu):\d+[KMG]i?B)*$"


class GroupKind(StrEnum):
    """How the devices of one worker share its model."""

    NONE = "none"
    BALANCED = "balanced"
    CONTEXT = "context"
    TENSOR = "tensor"


class GroupSettings(BaseSettings):
    """A worker that owns several devices."""

    model_config = group("GROUP")

    kind: GroupKind = Field(
        default=GroupKind.NONE,
        description="none; balanced: the model's parts on several devices; context or tensor: each image on all.",
    )
    size: int | None = Field(default=None, ge=1, description="Ranks to start; without it one for each CUDA device.")
    ring_degree: int = Field(default=1, ge=1, description="Ranks of ring attention (context).")
    ulysses_degree: int | None = Field(
        default=None, ge=1, description="Ranks that split the attention heads (context); without it size / ring degree."
    )
    ulysses_anything: bool = Field(
        default=True, description="Allow any size and prompt length; off needs lengths that the ranks divide evenly."
    )
    tp_degree: int | None = Field(
        default=None, ge=1, description="Ranks that split each layer (tensor); without it all."
    )
    max_memory: Annotated[str, in_words(_MEMORY, "must be pairs such as 0:20GiB,cpu:60GiB")] = Field(
        default="",
        pattern=_MEMORY,
        description="Memory of each device for balanced, such as 0:20GiB,1:20GiB,cpu:60GiB; without it all.",
    )
    timeout_s: float = Field(
        default=30, gt=0, description="Seconds without a sign of a rank before the whole group ends."
    )

    @property
    def has_ranks(self) -> bool:
        """Whether the group is several processes, one for each device."""
        return self.kind in (GroupKind.CONTEXT, GroupKind.TENSOR)

    @property
    def memory(self) -> dict[int | str, str]:
        """*max_memory* as diffusers takes it: the limit of each device."""
        pairs = (part.split(":") for part in self.max_memory.split(",") if part)
        return {int(device) if device.isdigit() else device: limit for device, limit in pairs}

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.max_memory and self.kind is not GroupKind.BALANCED:
            raise ValueError("IMAGEFLEET_GROUP_MAX_MEMORY: only IMAGEFLEET_GROUP_KIND=balanced heeds it; leave it out")
        if self.kind is not GroupKind.CONTEXT and (self.ring_degree, self.ulysses_degree) != (1, None):
            raise ValueError(
                "IMAGEFLEET_GROUP_RING_DEGREE, IMAGEFLEET_GROUP_ULYSSES_DEGREE: only IMAGEFLEET_GROUP_KIND=context "
                "heeds them; leave them out"
            )
        if self.kind is not GroupKind.TENSOR and self.tp_degree is not None:
            raise ValueError("IMAGEFLEET_GROUP_TP_DEGREE: only IMAGEFLEET_GROUP_KIND=tensor heeds it; leave it out")
        return self
