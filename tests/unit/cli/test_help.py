"""The help of every command: it has an example, and the example is a command line that is understood."""

import re
import shlex
from collections.abc import Iterator

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from imagefleet.cli.app import app

ROOT = get_command(app)


def every_command(command: typer.core.TyperCommand = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that lead to each command and each group."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, (*path, name))


COMMANDS = list(every_command())


def examples(text: str) -> list[list[str]]:
    """The command lines after the word `Example`, without what a shell does with them."""
    _, _, after = " ".join(text.replace("│", " ").split()).partition("Example")
    return [shlex.split(line)[1:] for line in re.findall(r"\bimagefleet\b(?: (?:'[^']*'|\"[^\"]*\"|[^;|>])*)?", after)]


def understood(words: list[str]) -> None:
    """Parse *words* as the program does, down to the last command; raises where they are wrong."""
    command, context = ROOT, None
    while True:
        context = command.make_context(command.name, list(words), parent=context)
        below = getattr(command, "commands", {})
        words = [*context._protected_args, *context.args]
        if not words or words[0] not in below:
            return
        command, words = below[words[0]], words[1:]


def test_all_commands_are_walked() -> None:
    assert {("top",), ("watch",), ("queues",), ("workers",), ("up",), ("dead", "replay"), ()} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "imagefleet")
def test_every_help_has_an_example_that_is_understood(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert shown.exit_code == 0, shown.output
    found = [words for words in examples(shown.output) if tuple(words[: len(path)]) == path]
    assert found, shown.output
    for words in found:
        understood(words)


def test_the_test_itself_sees_a_wrong_example() -> None:
    with pytest.raises(Exception, match="No such option"):
        understood(["top", "--twice"])
    assert examples("Example: imagefleet top --json | jq '.a;b' Examples") == [["top", "--json"]]
