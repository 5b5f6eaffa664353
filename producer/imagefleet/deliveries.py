"""Deliveries: webhooks on their way, as they lie in Redis.

As in `imagefleet.records`, each function returns a command.
"""

from typing import Final

from imagefleet.queues import DELIVER_TASK, Keys
from imagefleet.records import Command

# KEYS: list. ARGV: most waiting (0: no limit), message.
_PUSH: Final = """
local most = tonumber(ARGV[1])
if most > 0 and redis.call('LLEN', KEYS[1]) >= most then return 0 end
redis.call('LPUSH', KEYS[1], ARGV[2])
return 1
"""

# KEYS: delayed. ARGV: list, text to look for (empty: anything), how many, from which entry on, entries to look at.
_POSTPONED: Final = """
local head, found = '[' .. cjson.encode(ARGV[1]) .. ',', {}
local entries = redis.call('ZRANGE', KEYS[1], ARGV[4], ARGV[4] + ARGV[5] - 1, 'WITHSCORES')
for i = 1, #entries, 2 do
  local entry = entries[i]
  if #found >= 2 * ARGV[3] then break end
  if string.sub(entry, 1, #head) == head and (ARGV[2] == '' or string.find(entry, ARGV[2], 1, true)) then
    found[#found + 1] = entries[i + 1]
    found[#found + 1] = entry
  end
end
return {#entries / 2, found}
"""

# KEYS: dead, index. ARGV: text that tells a delivery, text to look for (empty: anything), how many.
_FAILED: Final = """
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[2], 0, -1)) do
  if #found >= tonumber(ARGV[3]) then break end
  local letter = redis.call('HGET', KEYS[1], id)
  if letter and string.find(letter, ARGV[1], 1, true) and (ARGV[2] == '' or string.find(letter, ARGV[2], 1, true)) then
    found[#found + 1] = letter
  end
end
return found
"""

# KEYS: delayed. ARGV: entry.
_HURRY: Final = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
local pair = cjson.decode(ARGV[1])
redis.call('LPUSH', pair[1], pair[2])
return 1
"""

#: Entries that one script looks at, so that Redis is not kept busy.
PAGE: Final = 1000


def push(keys: Keys, message: str, *, most: int = 0) -> Command:
    """Queue the delivery *message*; not where *most* wait already (0: no limit). Replies 1, or 0."""
    return ("EVAL", _PUSH, 1, keys.deliveries, most, message)


def postponed(keys: Keys, *, text: str = "", count: int, start: int) -> Command:
    """Deliveries that wait for their time and hold *text*, among `PAGE` messages from number *start* on.

    Replies `[messages looked at, [due in seconds since 1970, entry, ...]]`; an entry is JSON `[list, message]`.
    """
    return ("EVAL", _POSTPONED, 1, keys.delayed, keys.deliveries, text, count, start, PAGE)


def failed(keys: Keys, *, text: str = "", count: int) -> Command:
    """The newest *count* dead letters that are deliveries and hold *text*, as JSON."""
    return ("EVAL", _FAILED, 2, keys.dead, keys.dead_index, f'"task":"{DELIVER_TASK}"', text, count)


def hurry(keys: Keys, entry: str) -> Command:
    """Let the postponed *entry* be due now. Replies 1, or 0: it is not there any more."""
    return ("EVAL", _HURRY, 1, keys.delayed, entry)
