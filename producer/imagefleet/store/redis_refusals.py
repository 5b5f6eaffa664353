"""Refusals of Redis that have a remedy: what they mean, and what to do. Import this module late: it loads redis-py."""

import re
from typing import Final

from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    OutOfMemoryError,
)

_FULL: Final = re.compile(r"\bused memory > 'maxmemory'|^OOM\b")
#: Text of Redis before version 7, where a script was refused, and of servers that write the code into the text.
_CLUSTER: Final = re.compile(r"\b(CROSSSLOT|MOVED \d+|CLUSTERDOWN|cluster mode|non-local key|same slot)\b")
_UNDECLARED: Final = re.compile(r"undeclared key|accessing undeclared", re.IGNORECASE)

FULL: Final = (
    "it is full (maxmemory), and refuses what would need more memory: raise maxmemory, or wait until jobs have ended"
)
CLUSTER: Final = (
    "it is a Redis Cluster, where one script may not use several keys: give one Redis, a Sentinel, or a cluster's "
    "replacement with cluster mode disabled (docs/scaling.md)"
)
UNDECLARED: Final = (
    "it refuses keys that a script does not declare, as Dragonfly does: use Redis or Valkey, or start Dragonfly with "
    "--default_lua_flags=allow-undeclared-keys"
)


def explain(error: BaseException) -> str:
    """What *error* of redis-py means and what to do; empty if it is none of these refusals."""
    text = str(error)
    if isinstance(error, OutOfMemoryError) or _FULL.search(text):
        return FULL
    if isinstance(error, MovedError | AskError | ClusterCrossSlotError | ClusterDownError) or _CLUSTER.search(text):
        return CLUSTER
    return UNDECLARED if _UNDECLARED.search(text) else ""
