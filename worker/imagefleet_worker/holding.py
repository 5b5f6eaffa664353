"""Holding: what a claim is in Redis, as Lua that every script which ends one shares.

A claim is a token in four places: a lease (when it runs out, by the clock of Redis), the message as it lay in the list,
the list, and the process that owns it; and for a job of a tenant, that it is one of the tenant's. The keys of these
come first in every such script.
"""

from typing import Final

from imagefleet.queues import Keys

HELD: Final = "local function held(token, owner) return redis.call('HGET', KEYS[3], token) == owner end\n"
FORGET: Final = """
local function forget(token)
  redis.call('ZREM', KEYS[1], token); redis.call('HDEL', KEYS[2], token)
  redis.call('HDEL', KEYS[3], token); redis.call('HDEL', KEYS[4], token)
  local tenant = redis.call('HGET', KEYS[5], token)
  if tenant then
    redis.call('HDEL', KEYS[5], token)
    if redis.call('HINCRBY', KEYS[6], tenant, -1) <= 0 then redis.call('HDEL', KEYS[6], tenant) end
  end
end
"""


def of_a_claim(keys: Keys) -> tuple[str, ...]:
    """The keys that begin the list of each such script."""
    return keys.leases, keys.claims, keys.owners, keys.origins, keys.tenants, keys.tenants_running
