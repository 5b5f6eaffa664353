"""The client's settings, given by the caller or read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

from pydantic import ValidationError

from imagefleet.contract.jobs import DEFAULT_LIMITS, JobLimits
from imagefleet.contract.validation_errors import sentence_of
from imagefleet.contract.variables import misspelt
from imagefleet.errors import SettingsInvalid
from imagefleet.links.settings import VARIABLES as _OF_LINKS
from imagefleet.links.settings import LinkSettings
from imagefleet.store.keys import Keys

_VARIABLES: Final = (
    "IMAGEFLEET_REDIS_URL",
    "IMAGEFLEET_REDIS_KEY_PREFIX",
    "IMAGEFLEET_REDIS_SENTINEL_MASTER",
    "IMAGEFLEET_MAX_QUEUED",
)
#: The variables of the limits, by their names; workers read the same.
LIMIT_VARIABLES: Final = {name: f"IMAGEFLEET_LIMIT_{name.upper()}" for name in JobLimits.model_fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Where the queue is and what may go on it; workers read the same variables."""

    #: `redis://`, `rediss://` (TLS), `unix://` or `sentinel://host:port;sentinel://host:port/db`; may hold a password.
    url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    #: Put before every key, for a Redis that others use too.
    key_prefix: str = ""
    #: Name of the master, with a sentinel:// URL.
    sentinel_master: str = ""
    #: Most jobs that may wait in one queue; 0 is no limit.
    max_queued: int = 0
    #: What one job may ask for.
    limits: JobLimits = DEFAULT_LIMITS
    #: Where images are, for `url`; None: as `IMAGEFLEET_STORAGE_*` say when the first link is signed.
    storage: LinkSettings | None = None

    @property
    def keys(self) -> Keys:
        """The names of keys in Redis."""
        return Keys(self.key_prefix)

    def as_options(self) -> dict[str, Any]:
        """The settings as the keyword arguments of a client."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings that the environment gives; what is unset or empty keeps its default.

        Raises:
            SettingsInvalid: for a number that is none, or a variable that is misspelt.
        """
        env = os.environ if environ is None else environ
        for name, nearest in misspelt(env, [*_VARIABLES, *LIMIT_VARIABLES.values(), *_OF_LINKS.values()]):
            raise SettingsInvalid(f"{name} is no setting: did you mean {nearest}?")
        texts = {"url": "REDIS_URL", "key_prefix": "REDIS_KEY_PREFIX", "sentinel_master": "REDIS_SENTINEL_MASTER"}
        numbers = {"max_queued": "MAX_QUEUED"}
        found: dict[str, Any] = {name: env.get(f"IMAGEFLEET_{variable}") for name, variable in texts.items()}
        found |= {name: _count(env, f"IMAGEFLEET_{variable}") for name, variable in numbers.items()}
        found["limits"] = _limits(env)
        return cls(**{name: value for name, value in found.items() if value not in (None, "")})


def _limits(env: Mapping[str, str]) -> JobLimits:
    given = {name: env[variable] for name, variable in LIMIT_VARIABLES.items() if env.get(variable)}
    try:
        return JobLimits.model_validate(given)
    except ValidationError as error:
        problems = [f"{LIMIT_VARIABLES[str(each['loc'][0])]}: {sentence_of(each)}" for each in error.errors()]
        raise SettingsInvalid("; ".join(problems)) from error


def _count(env: Mapping[str, str], variable: str) -> int | None:
    text = env.get(variable, "")
    if not text:
        return None
    if not text.isdecimal():
        raise SettingsInvalid(f"{variable} must be a whole number, 0 or more; it is {text!r}: correct it")
    return int(text)
