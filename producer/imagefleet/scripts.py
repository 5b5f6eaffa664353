"""Scripts: named by their hash where Redis has their text already, which spares it reading and hashing that each time.

Redis forgets texts when it restarts or another takes its place, and says so: then the whole command is sent, which
teaches it the text again (https://redis.io/docs/latest/develop/programmability/eval-intro/#script-cache).
"""

import hashlib
from functools import cache

from imagefleet.records import Command


def by_hash(command: Command) -> Command:
    """*command*, with the hash of its script in place of the text; as it is where it runs none."""
    if command[0] != "EVAL":
        return command
    return ("EVALSHA", _hash(str(command[1])), *command[2:])


@cache  # our scripts are constants, some thirty of them
def _hash(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
