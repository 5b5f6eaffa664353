"""Errors are sentences that say what is wrong and what to do: no empty end, no script of Redis, no text as it came."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
from tests.scripts.reference import errors_page

from imagefleet.client.redis_client import queue_unavailable
from imagefleet.client.settings import ClientSettings
from imagefleet.errors import ImageFleetError, described, reason_of, wrapped

ROOT = Path(__file__).parents[2]
SHA = "5f" * 20


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("it is too large."), "it is too large"),
        (ValueError("first line\n  at line 7"), "first line"),
        (RuntimeError(), "RuntimeError"),
        (RuntimeError(None), "RuntimeError"),
        (TimeoutError(" "), "TimeoutError"),
        (
            redis.ResponseError(f"Command # 1 (EVALSHA {SHA} 3 a b c) of pipeline caused error: NOPERM this user"),
            "NOPERM this user",
        ),
        (
            redis.ResponseError(
                f"OOM command not allowed when used memory > 'maxmemory'. script: {SHA}, on @user_script:9."
            ),
            "OOM command not allowed when used memory > 'maxmemory'",
        ),
        (
            redis.ResponseError(f"Error running script (call to f_{SHA}): @user_script:4: WRONGTYPE Operation"),
            "WRONGTYPE Operation",
        ),
    ],
)
def test_the_reason_is_one_line_that_says_something(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


def test_the_type_is_named_once() -> None:
    assert described(KeyError("prompt")) == "KeyError: 'prompt'"
    assert described(RuntimeError()) == "RuntimeError"
    assert described(RuntimeError(None)) == "RuntimeError"


@pytest.mark.parametrize("text", [None, "", f"Command # 2 (EVALSHA {SHA} 1 k) of pipeline caused error: READONLY no"])
def test_an_unavailable_redis_is_said_without_its_scripts(text: str | None) -> None:
    sentence = queue_unavailable(ClientSettings(), redis.ResponseError(text)).message
    assert "EVALSHA" not in sentence
    assert not sentence.rstrip(".").endswith(("None", ":", " "))


def test_a_terminal_gets_lines_that_end_between_words() -> None:
    text = "imagefleet: /a/long/path/to-a-model holds no model_index.json, but LoRA weights"
    lines = wrapped(text, 40).splitlines()
    assert " ".join(lines) == text
    assert all(len(line) <= 40 for line in lines)


def test_a_word_that_is_longer_than_a_line_stays_whole() -> None:
    url = "s3://images/" + "a-b" * 40
    assert url in wrapped(f"images at {url} and\nthe next line", 30).splitlines()


#: Words that begin what to do.
_VERBS = re.compile(
    r"(?:^|[;:,.(?] |\b(?:or|and|then|not) )(?:`[^`]*`|pip|add|allow|ask|change|check|choose|compare|convert|correct|"
    r"download|find|free|give|install|leave|let|look|lower|make|mend|name|put|quote|raise|read|refuse|remove|repair|"
    r"replay|report|save|say|see|send|serve|set|shorten|start|submit|try|type|unset|use|wait|write|must|please report|"
    r"did you mean|each is)\b",
    re.IGNORECASE,
)
#: What to do stands in one of these, where the sentence is made.
_SAID_BY = {"READ_LOGS", "_CHOOSE_ANOTHER", "way_out", "hint", "reason", "why", "_ADVICE[kind]"}
#: These only pass a sentence on, or are in no result and need nobody.
_EXEMPT = {"JobFailed", "LeaseLost"}


class Sentence(NamedTuple):
    """The sentence of one error in the code; what stands in braces is filled in later."""

    where: str
    kind: str
    text: str
    filled_in: list[str]


def _kinds(kind: type[ImageFleetError] = ImageFleetError) -> Iterator[str]:
    for each in kind.__subclasses__():
        yield each.__name__
        yield from _kinds(each)


def _sentences() -> Iterator[Sentence]:
    """Every sentence that is written where an error of ours is made."""
    kinds = set(_kinds())
    for path in sorted(path for package in ("producer", "worker") for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and node.args:
                parts = node.args[0].values if isinstance(node.args[0], ast.JoinedStr) else [node.args[0]]
                filled_in = [ast.unparse(part.value) for part in parts if isinstance(part, ast.FormattedValue)]
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
                if text != "{}":
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield Sentence(where, node.func.id, text, filled_in)


SENTENCES = list(_sentences())


def test_sentences_are_found_in_the_code() -> None:
    assert len(SENTENCES) > 120
    assert len({sentence.kind for sentence in SENTENCES}) > 15


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.where)
def test_every_sentence_says_what_is_wrong_and_what_to_do(sentence: Sentence) -> None:
    if sentence.kind not in _EXEMPT:
        assert _VERBS.search(sentence.text) or _SAID_BY & set(sentence.filled_in), sentence.text
    assert not re.search(r"\bNone\b|: *$|EVALSHA", sentence.text)


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.where)
def test_no_sentence_has_the_text_of_a_library_as_it_came(sentence: Sentence) -> None:
    """Which may be empty, or `None`, or a script of Redis: `reason_of` and `described` make words of it."""
    raw = {"error", "str(error)", "repr(error)"} & set(sentence.filled_in)
    words_of_ours = sentence.where.startswith("producer/imagefleet/client/redis_client.py")
    assert not raw or words_of_ours


@pytest.mark.parametrize("error", errors_page.errors(), ids=lambda error: f"{error.kind.__name__}-{error.code}")
def test_every_code_has_its_row_with_cause_fault_and_remedy(error: errors_page.Explained) -> None:
    """And the error without words of its own says its cause."""
    row = re.search(rf"^\|.*`{error.code}` \|.*$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert row
    for text in (error.cause, error.fault, error.remedy):
        assert text.strip()
        assert "None" not in text
    assert error.cause.strip().endswith(".")
    assert error.remedy.strip().endswith(".")
    assert ImageFleetError.message.fget(error.kind.__new__(error.kind)) == error.cause.strip().partition("\n")[0]


def test_every_reason_of_a_dead_letter_is_in_the_table() -> None:
    page = (ROOT / "docs" / "errors.md").read_text().partition("## Reasons of dead letters")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert documented == {*errors_page.DEAD_LETTER_CODES, "malformed"}
