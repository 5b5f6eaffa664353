"""The variables `IMAGEFLEET_*`: which of them are no settings, and which settings were meant."""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

_PREFIX: Final = "IMAGEFLEET_"
#: How alike two names must be, from 0 to 1, for one to be a misspelt form of the other.
_ALIKE: Final = 0.8
#: What Kubernetes and Docker set in a pod for a service whose name begins with imagefleet.
_OF_A_SERVICE: Final = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_ADDRESS: Final = re.compile(r"^(tcp|udp|sctp)://")


def misspelt(
    environ: Mapping[str, str], known: Collection[str], *, groups: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Each variable of *environ* that is none of *known*, with the nearest of them, or empty.

    Those that are not like any of *known* are left out, unless they begin with one of *groups*, such as
    `IMAGEFLEET_STORAGE_`: other programs may have variables that begin as ours do.
    """
    by_rest = {name.removeprefix(_PREFIX): name for name in known}
    for name, value in environ.items():
        upper = name.upper()
        if not upper.startswith(_PREFIX) or upper in known or _is_of_a_service(upper, value):
            continue
        nearest = get_close_matches(upper.removeprefix(_PREFIX), by_rest, n=1, cutoff=_ALIKE)
        if nearest or upper.startswith(tuple(groups)):
            yield name, by_rest[nearest[0]] if nearest else ""


def _is_of_a_service(name: str, value: str) -> bool:
    return bool(_OF_A_SERVICE.search(name) or (name.endswith("_PORT") and _ADDRESS.search(value)))
