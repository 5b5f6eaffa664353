"""Names in a job: what they may be made of, as a pattern for programs and in words for people."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from imagefleet.contract.webhook_urls import split_url


def in_words(pattern: str, words: str) -> Any:
    """Refuses a text that *pattern* does not match, with *words* in place of the pattern."""
    matcher = re.compile(pattern.replace("$", r"\Z"))  # a newline at the end is no end

    def check(value: object) -> object:
        if isinstance(value, str) and not matcher.match(value):
            raise ValueError(f"{words}; it is {value!r}")
        return value

    return BeforeValidator(check)


def _pattern(pattern: str, words: str) -> tuple[Any, Any]:
    return StringConstraints(pattern=pattern), in_words(pattern, words)


def _sendable(url: str) -> str:
    split_url(url)
    return url


_ALIAS = _pattern(
    r"^[a-z0-9][a-z0-9._-]{0,62}$",
    "must be 1 to 63 lower-case letters, digits or . _ - and begin with a letter or digit",
)
_LABEL = _pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$",
    "must be 1 to 128 letters, digits or . _ : - and begin with a letter or digit",
)
_CLASS = _pattern(r"^[A-Za-z0-9]{1,64}$", "must be the name of a class of diffusers, such as EulerDiscreteScheduler")
_HTTP = _pattern(r"^https?://", "must begin with http:// or https://")

#: The alias of a model.
ModelAlias = Annotated[str, _ALIAS[0], _ALIAS[1]]
#: A group or a tenant, which are parts of keys.
Label = Annotated[str, _LABEL[0], _LABEL[1]]
#: The class of a scheduler.
ClassName = Annotated[str, _CLASS[0], _CLASS[1]]
#: The URL of a receiver.
HttpUrl = Annotated[str, _HTTP[0], StringConstraints(max_length=2048), _HTTP[1], AfterValidator(_sendable)]
