"""Back-off: how long to wait before another try."""

import random
from typing import Final

#: Far below the largest float.
_MOST_DOUBLINGS: Final = 32


def backoff_s(failures: int, *, base_s: float, longest_s: float) -> float:
    """Seconds to wait: *base_s* doubled for each of *failures*, at most *longest_s*, less up to half of that by chance.

    So what failed together does not come back together.
    """
    pause_s = min(base_s * 2 ** min(failures, _MOST_DOUBLINGS), longest_s)
    return random.uniform(pause_s / 2, pause_s)  # noqa: S311  # no secret
