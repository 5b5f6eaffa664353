"""Several devices of one machine under `imagefleet-worker --devices`."""

from pydantic import Field
from pydantic_settings import BaseSettings

from imagefleet_worker.settings.groups import group


class DevicesSettings(BaseSettings):
    """When the worker of a device is started again."""

    model_config = group("DEVICES")

    restart_max_s: float = Field(default=60, gt=0, description="Longest pause before a worker is started again.")
    max_faults: int = Field(default=5, ge=1, description="So many ends with 71, 73 or 74 make a device bad ...")
    fault_window_s: float = Field(default=3600, gt=0, description="... within this time; it is then left alone.")
