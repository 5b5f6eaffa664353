"""The rank: which rank of the group this process is, as torchrun and `accelerate launch` say it in the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from imagefleet.errors import SettingsInvalid, reason_of

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Rank:
    """One process of a group."""

    rank: int
    size: int
    """Ranks of the whole group."""
    local_rank: int
    """The index of its device on its machine."""
    host: str
    """The address of rank 0."""
    port: int
    """Where torch.distributed meets on *host*."""

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None) -> "Rank | None":
        """The rank of this process; None if no launcher has given it one.

        Raises:
            SettingsInvalid: if the variables of the launcher make no sense.
        """
        env = os.environ if environ is None else environ
        if "RANK" not in env:
            return None
        missing = [name for name in _VARIABLES if name not in env]
        if missing:
            raise SettingsInvalid(f"RANK is set without {', '.join(missing)}: start the group with its own command")
        try:
            rank, size, port = (int(env[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
            local_rank = int(env.get("LOCAL_RANK", rank))
        except ValueError as error:
            raise SettingsInvalid(
                f"RANK, WORLD_SIZE, LOCAL_RANK and MASTER_PORT must be numbers: {reason_of(error)}; correct them"
            ) from error
        return cls(rank=rank, size=size, local_rank=local_rank, host=env["MASTER_ADDR"], port=port)

    @property
    def is_leader(self) -> bool:
        """Whether this process is the Celery worker."""
        return self.rank == 0

    def environment(self) -> dict[str, str]:
        """The variables that give a process this rank."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.size),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
        }
