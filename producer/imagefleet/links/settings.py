"""Link settings: where images are, for links to them."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagefleet.contract.validation_errors import sentence_of
from imagefleet.errors import SettingsInvalid

#: By the name of the setting; workers read the same variables.
VARIABLES: Final = {
    "endpoint_url": "IMAGEFLEET_STORAGE_ENDPOINT_URL",
    "public_url": "IMAGEFLEET_STORAGE_PUBLIC_URL",
    "region": "IMAGEFLEET_STORAGE_REGION",
    "path_style": "IMAGEFLEET_STORAGE_PATH_STYLE",
    "expires_s": "IMAGEFLEET_STORAGE_PRESIGN_EXPIRES_S",
}
#: Of a link, in seconds: what S3 allows.
LONGEST_S: Final = 604_800

_Url = Annotated[str, Field(pattern=r"^(https?://.+)?$")]


class LinkSettings(BaseModel):
    """Where images are, for links to them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    endpoint_url: _Url = ""
    """URL of an S3 service other than Amazon's."""
    public_url: _Url = ""
    """The same service as those reach it who follow the links."""
    region: str = ""
    """The region of the buckets; without it the server is asked, once for each bucket."""
    path_style: bool = False
    """https://host/bucket/key instead of https://bucket.host/key."""
    expires_s: Annotated[int, Field(ge=1, le=604_800)] = 3600
    """Seconds that links are valid, unless the caller or the credentials make it fewer."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The settings that the environment gives; what is unset or empty keeps its default.

        Raises:
            SettingsInvalid: naming each variable that cannot be used.
        """
        env = os.environ if environ is None else environ
        given = {name: env[variable] for name, variable in VARIABLES.items() if env.get(variable)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = [f"{VARIABLES[str(each['loc'][0])]}: {_sentence(each)}" for each in error.errors()]
            raise SettingsInvalid("; ".join(problems)) from error


def _sentence(problem: Any) -> str:
    if problem["type"] == "string_pattern_mismatch":
        return "must be an http or https URL"
    return sentence_of(problem)
