"""Plans: over how many ranks a model is spread, and in which way; checked before anything is started."""

from dataclasses import dataclass

from imagefleet_worker.errors import SettingsInvalid
from imagefleet_worker.settings import EngineMode, EngineSettings, GroupKind, GroupSettings, Settings

_LEAST_RANKS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """The degrees of a group; those that do not take part are 1."""

    ring: int = 1
    ulysses: int = 1
    tensor: int = 1
    #: Whether lengths need not divide evenly.
    anything: bool = False

    @classmethod
    def of(cls, settings: Settings, *, size: int) -> "Plan":
        """The plan for *size* ranks.

        Raises:
            SettingsInvalid: where *settings* make none, with what to change.
        """
        group = settings.group
        if not group.has_ranks:
            raise SettingsInvalid("IMAGEFLEET_GROUP_KIND must be context or tensor for a group of several ranks")
        if size < _LEAST_RANKS:
            raise SettingsInvalid(
                f"a device group needs at least two ranks, not {size}: set --size, or one for each GPU"
            )
        _check_mode(settings.engine)
        return _tensor(group, size=size) if group.kind is GroupKind.TENSOR else _context(group, size=size)


def _check_mode(engine: EngineSettings) -> None:
    if "mode" in engine.model_fields_set and engine.mode is not EngineMode.OFF:
        raise SettingsInvalid(
            f"IMAGEFLEET_ENGINE_MODE={engine.mode.value} does not work in a device group, whose ranks make one job "
            "after the other: set it to off, or leave it out"
        )


def _tensor(group: GroupSettings, *, size: int) -> Plan:
    if group.tp_degree not in (None, size):
        raise SettingsInvalid(
            f"IMAGEFLEET_GROUP_TP_DEGREE is {group.tp_degree}, and there are {size} ranks: leave it out"
        )
    return Plan(tensor=size)


def _context(group: GroupSettings, *, size: int) -> Plan:
    ring = group.ring_degree
    ulysses = group.ulysses_degree or max(1, size // ring)
    if ring * ulysses != size:
        raise SettingsInvalid(
            f"IMAGEFLEET_GROUP_RING_DEGREE {ring} times IMAGEFLEET_GROUP_ULYSSES_DEGREE {ulysses} must be {size}, the "
            "number of ranks"
        )
    if ring > 1 and ulysses > 1:  # diffusers has no "anything" for both at once
        return Plan(ring=ring, ulysses=ulysses)
    return Plan(ring=ring, ulysses=ulysses, anything=group.ulysses_anything or ring > 1)
