"""Findings: what a check came to, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue


class CheckStatus(StrEnum):
    """What a check came to."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A status, a sentence for people that says what to do, and the facts behind it for programs."""

    status: CheckStatus
    sentence: str
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of the check called *check*."""

    check: str
    outcome: CheckResult

    def as_mapping(self) -> dict[str, JsonValue]:
        """As it stands in the report."""
        outcome = self.outcome
        return {
            "check": self.check,
            "verdict": outcome.status.value,
            "sentence": outcome.sentence,
            "facts": dict(outcome.facts),
        }


def ok(sentence: str, **facts: JsonValue) -> CheckResult:
    """All is well."""
    return CheckResult(CheckStatus.OK, sentence, facts)


def warning(sentence: str, **facts: JsonValue) -> CheckResult:
    """It works, and something about it is not as it should be; or it could not be checked."""
    return CheckResult(CheckStatus.WARNING, sentence, facts)


def failed(sentence: str, **facts: JsonValue) -> CheckResult:
    """A worker would not start, or a promise would not hold."""
    return CheckResult(CheckStatus.FAILED, sentence, facts)


def skipped(sentence: str) -> CheckResult:
    """There was nothing to check, or no means to."""
    return CheckResult(CheckStatus.SKIPPED, sentence)
