"""Plans: over how many ranks a model is spread, and in which way; checked before anything is started."""

from dataclasses import dataclass

from imagefleet.errors import SettingsInvalid
from imagefleet_worker.settings import GroupKind, GroupSettings, Settings
from imagefleet_worker.settings.conflicts import LEAST_RANKS


@dataclass(frozen=True, slots=True)
class ParallelPlan:
    """The degrees of a group; those that do not take part are 1."""

    ring: int = 1
    ulysses: int = 1
    tensor: int = 1
    #: Whether lengths need not divide evenly.
    anything: bool = False

    @classmethod
    def of(cls, settings: Settings, *, size: int) -> "ParallelPlan":
        """The plan for *size* ranks.

        Raises:
            SettingsInvalid: where *settings* make none, with what to change.
        """
        group = settings.group
        if not group.has_ranks:
            raise SettingsInvalid(
                "IMAGEFLEET_GROUP_KIND must be context or tensor for a group of several ranks; set it"
            )
        if size < LEAST_RANKS:
            raise SettingsInvalid(
                f"a device group needs at least two ranks, not {size}: set --size, or one for each GPU"
            )
        return _tensor(group, size=size) if group.kind is GroupKind.TENSOR else _context(group, size=size)


def _tensor(group: GroupSettings, *, size: int) -> ParallelPlan:
    if group.tp_degree not in (None, size):
        raise SettingsInvalid(
            f"IMAGEFLEET_GROUP_TP_DEGREE is {group.tp_degree}, and there are {size} ranks: leave it out"
        )
    return ParallelPlan(tensor=size)


def _context(group: GroupSettings, *, size: int) -> ParallelPlan:
    ring = group.ring_degree
    ulysses = group.ulysses_degree or max(1, size // ring)
    if ring * ulysses != size:
        raise SettingsInvalid(
            f"IMAGEFLEET_GROUP_RING_DEGREE {ring} times IMAGEFLEET_GROUP_ULYSSES_DEGREE {ulysses} must be {size}, the "
            "number of ranks: correct them"
        )
    if ring > 1 and ulysses > 1:  # diffusers has no "anything" for both at once
        return ParallelPlan(ring=ring, ulysses=ulysses)
    return ParallelPlan(ring=ring, ulysses=ulysses, anything=group.ulysses_anything or ring > 1)
