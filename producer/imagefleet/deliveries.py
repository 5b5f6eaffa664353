"""Deliveries: webhooks on their way, as they lie in Redis.

As in `imagefleet.records`, each function returns a command.
"""

from typing import Final

from imagefleet.queues import Keys
from imagefleet.records import Command

# KEYS: list. ARGV: most waiting (0: no limit), message.
_PUSH: Final = """
local most = tonumber(ARGV[1])
if most > 0 and redis.call('LLEN', KEYS[1]) >= most then return 0 end
redis.call('LPUSH', KEYS[1], ARGV[2])
return 1
"""


def push(keys: Keys, message: str, *, most: int = 0) -> Command:
    """Queue the delivery *message*; not where *most* wait already (0: no limit). Replies 1, or 0."""
    return ("EVAL", _PUSH, 1, keys.deliveries, most, message)
