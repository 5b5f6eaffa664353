"""Device groups: one worker that owns several devices."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.groups import group


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
    size: int | None = Field(default=None, ge=1, description="Ranks to start; else one for each CUDA device.")
    ring_degree: int = Field(default=1, ge=1, description="Ranks that pass keys round in a ring (context).")
    ulysses_degree: int | None = Field(
        default=None, ge=1, description="Ranks that split the attention heads (context); else all that ring leaves."
    )
    ulysses_anything: bool = Field(
        default=True, description="Any size and prompt length; off needs lengths that the ranks divide evenly."
    )
    tp_degree: int | None = Field(default=None, ge=1, description="Ranks that split each layer (tensor); else all.")
    max_memory: str = Field(
        default="",
        pattern=r"^$|^(\d+|cpu):\d+[KMG]i?B(,(\d+|cpu):\d+[KMG]i?B)*$",
        description="What balanced may use, as 0:20GiB,1:20GiB,cpu:60GiB; else all there is.",
    )
    timeout_s: float = Field(default=30, gt=0, description="A rank silent for this long ends the whole group.")

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
            raise ValueError("max_memory: only IMAGEFLEET_GROUP_KIND=balanced heeds it; leave it out")
        if self.kind is not GroupKind.CONTEXT and (self.ring_degree, self.ulysses_degree) != (1, None):
            raise ValueError(
                "ring_degree, ulysses_degree: only IMAGEFLEET_GROUP_KIND=context heeds them; leave them out"
            )
        if self.kind is not GroupKind.TENSOR and self.tp_degree is not None:
            raise ValueError("tp_degree: only IMAGEFLEET_GROUP_KIND=tensor heeds it; leave it out")
        return self
