"""The documented attributes of a class: what stands before them after `#:`, or below them as a docstring."""

import ast
import inspect
import textwrap
from typing import NamedTuple


class Attribute(NamedTuple):
    """One attribute as the source has it."""

    name: str
    type: str
    meaning: str


def attributes(owner: type) -> list[Attribute]:
    """The annotated attributes, enum members and properties of *owner*, in the order of its source."""
    source = textwrap.dedent(inspect.getsource(owner))
    lines = source.splitlines()
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    found: list[Attribute] = []
    for index, statement in enumerate(node.body):
        after = node.body[index + 1] if index + 1 < len(node.body) else None
        meaning = _comment_before(lines, statement) or _docstring(after)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found.append(Attribute(statement.target.id, ast.unparse(statement.annotation), meaning))
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            found.append(Attribute(str(statement.value.value), "", meaning))
        elif isinstance(statement, ast.FunctionDef) and any(map(_is_property, statement.decorator_list)):
            returns = ast.unparse(statement.returns) if statement.returns else ""
            found.append(Attribute(statement.name, returns, ast.get_docstring(statement) or ""))
    return [each for each in found if not each.name.startswith("_")]


def _comment_before(lines: list[str], statement: ast.stmt) -> str:
    found: list[str] = []
    for line in reversed(lines[: statement.lineno - 1]):
        if not line.strip().startswith("#:"):
            break
        found.insert(0, line.strip().removeprefix("#:").strip())
    return " ".join(found)


def _docstring(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""


def _is_property(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == "property"
