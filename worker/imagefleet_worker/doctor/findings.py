"""Findings: what a check came to, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue


class Verdict(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, a sentence for people that says what to do, and the facts behind it for programs."""

    verdict: Verdict
    sentence: str
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of the check called *check*."""

    check: str
    outcome: Outcome

    def as_mapping(self) -> dict[str, JsonValue]:
        """As it stands in the report."""
        outcome = self.outcome
        return {
            "check": self.check,
            "verdict": outcome.verdict.value,
            "sentence": outcome.sentence,
            "facts": dict(outcome.facts),
        }


def ok(sentence: str, **facts: JsonValue) -> Outcome:
    """All is well."""
    return Outcome(Verdict.OK, sentence, facts)


def warning(sentence: str, **facts: JsonValue) -> Outcome:
    """It works, and something about it is not as it should be; or it could not be checked."""
    return Outcome(Verdict.WARNING, sentence, facts)


def failed(sentence: str, **facts: JsonValue) -> Outcome:
    """A worker would not start, or a promise would not hold."""
    return Outcome(Verdict.FAILED, sentence, facts)


def skipped(sentence: str) -> Outcome:
    """There was nothing to check, or no means to."""
    return Outcome(Verdict.SKIPPED, sentence)
