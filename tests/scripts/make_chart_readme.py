"""Make helm/imagefleet/README.md from the comments in values.yaml: `python -m tests.scripts.make_chart_readme`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parents[2] / "helm" / "imagefleet"

_HEAD = """# imagefleet

The Helm chart of imagefleet: one Deployment of workers for each model, senders of webhooks, and what operates them.
How to go about it step by step: [docs/kubernetes.md](../../docs/kubernetes.md). Examples: [ci/](ci).

Made from `values.yaml` by `python -m tests.scripts.make_chart_readme`; change that file, not this one.

| value | default | meaning |
| --- | --- | --- |
"""


class Value(NamedTuple):
    """One documented value."""

    path: str
    default: Any
    meaning: str


def documented(lines: list[str]) -> Iterator[Value]:
    """Every value with a `# --` comment before it, in the file's order."""
    values = yaml.safe_load("\n".join(lines))
    path: list[str] = []
    meaning: list[str] = []
    for line in lines:
        text = line.strip()
        if text.startswith("# -- "):
            meaning = [text.removeprefix("# -- ")]
        elif text.startswith("#") and meaning:
            meaning.append(text.removeprefix("#").strip())
        elif text and not text.startswith("#"):
            path = [*path[: (len(line) - len(line.lstrip())) // 2], text.split(":")[0]]
            if meaning:
                yield Value(".".join(path), _at(values, path), " ".join(meaning))
            meaning = []


def _at(values: Any, path: list[str]) -> Any:
    for key in path:
        values = values[key]
    return values


def leaves(values: Any, path: str = "") -> Iterator[str]:
    """The paths of all values that hold no other value."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path


def readme() -> str:
    """The README's text."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    rows = [f"| `{path}` | `{json.dumps(default)}` | {meaning} |" for path, default, meaning in documented(lines)]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
    sys.stdout.write("written\n")
