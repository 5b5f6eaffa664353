"""Markdown: tables, and text that is safe in a cell."""

import re
from collections.abc import Iterable, Sequence

#: Names that are code wherever they stand in a docstring.
_CODE = re.compile(r"(?<![`\w./*])(IMAGEFLEET_[A-Z0-9_]+\*?|imagefleet\.<\w+>)(?![`\w*=])")
_LINK = re.compile(r"\bdocs/([\w-]+\.md)\b")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line for each row."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("|" + "|".join(f" {each} " if each else " " for each in line) + "|" for line in lines) + "\n"


def cell(text: str) -> str:
    """*text* in one line, names as code and pages as links, without characters that would end the cell."""
    return text_of(text).replace("|", "\\|")


def text_of(docstring: str) -> str:
    """*docstring* in one line, names as code and pages as links."""
    return _LINK.sub(r"[\1](\1)", _CODE.sub(r"`\1`", re.sub(r"(?<!\*)\*(\w+)\*", r"`\1`", " ".join(docstring.split()))))


def code(text: str) -> str:
    """*text* as code, or nothing."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def page(title: str, source: str, *parts: str) -> str:
    """A whole page that says where it comes from."""
    note = f"<!-- Made by `python -m tests.scripts.make_reference` from {source}; change that, not this page. -->"
    return "\n".join([f"# {title}", "", note, "", *(part.rstrip("\n") + "\n" for part in parts)])
