"""Check that the documents and the code name the same settings, exit codes, metrics and error codes, both ways.

Files and modules that a document names must be there, too.

python -m tests.scripts.check_names
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.scripts.reference import errors_page, settings_page

from imagefleet.cli.exit_codes import ExitCode as CommandExitCode
from imagefleet_worker.exit_codes import ExitCode

ROOT: Final = Path(__file__).parents[2]
#: Written by people or made from the code; the chart's README names values of its own.
DOCUMENTS: Final = (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/*.md")))
_OPERATING: Final = ROOT / "docs" / "operating.md"
_METRICS: Final = ROOT / "docs" / "metrics.md"
_ERRORS: Final = ROOT / "docs" / "errors.md"
#: What the kernel, the shell and Prometheus add to names and codes of ours.
_KILLED: Final = 137
_ENDINGS: Final = ("_total", "_bucket", "_sum", "_count", "")
#: Variables of the tests, which only CONTRIBUTING.md names.
_OF_TESTS: Final = "IMAGEFLEET_TEST_"
#: How documents name an error code: beside a status, and in the runbook also in a list of them.
_CODE: Final = re.compile(r"(?:`failed` \(|fails? (?:as|with) )`([a-z_]+)`")
_PACKAGES: Final = (ROOT / "producer" / "imagefleet", ROOT / "worker" / "imagefleet_worker")
_OF_ROOM: Final = re.compile(r"[`.]([a-z_]+)\.([a-z_]+)`")
_FILE: Final = re.compile(r"`((?:tests|docker|helm|examples|producer|worker)/[\w./-]+)`")
_MODULE: Final = re.compile(r"python -m (tests(?:\.\w+)+)")
_LISTED_CODE: Final = re.compile(r"^- `([a-z_]+)`: ", re.MULTILINE)


def problems(documents: Iterable[Path] = DOCUMENTS) -> Iterator[str]:
    """Every name that only the *documents* or only the code has, as a sentence."""
    texts = {path: path.read_text() for path in documents}
    yield from _settings(texts)
    yield from _exit_codes(_OPERATING.read_text())
    yield from _metrics(texts)
    yield from _error_codes(texts)
    yield from _paths(texts)
    yield from _modules(texts[ROOT / "ARCHITECTURE.md"])


def main() -> int:
    """Print the problems; 1 where there are any."""
    found = list(problems())
    sys.stderr.writelines(f"{problem}\n" for problem in found)
    return int(bool(found))


def _settings(texts: dict[Path, str]) -> Iterator[str]:
    known = settings_page.all_variables()
    for path, text in texts.items():
        for name in sorted(set(re.findall(r"IMAGEFLEET_[A-Z0-9_]+", text)) - known):
            is_prefix = any(each.startswith(name) for each in known) and re.search(rf"{name}\*", text)
            if not is_prefix and not name.startswith(_OF_TESTS):
                yield f"{_name(path)}: there is no setting {name}"


def _exit_codes(text: str) -> Iterator[str]:
    found = [set(map(int, re.findall(r"^\| (\d+) \|", part, re.MULTILINE))) for part in _tables(text)]
    for codes, what in ((set(CommandExitCode), "imagefleet"), ({*ExitCode, _KILLED}, "a worker")):
        if {int(code) for code in codes} not in found:
            yield f"docs/operating.md: no table has exactly the exit codes of {what}: {sorted(map(int, codes))}"


def _metrics(texts: dict[Path, str]) -> Iterator[str]:
    folder = ROOT / "worker" / "imagefleet_worker" / "observability"
    known = {name for path in folder.glob("*.py") for name in re.findall(r'"(imagefleet_[a-z_]+)"', path.read_text())}
    for path, text in texts.items():
        for name in sorted(set(re.findall(r"(?<![\w.])imagefleet_[a-z_]+\b(?![./])", text)) - {"imagefleet_worker"}):
            if not any(name.removesuffix(ending) in known for ending in _ENDINGS):
                yield f"{_name(path)}: there is no metric {name}"
    for name in sorted(known):
        if not re.search(rf"^\| `{name}(_total)?` \|", texts[_METRICS], re.MULTILINE):
            yield f"docs/metrics.md: the metric {name} is missing"


def _error_codes(texts: dict[Path, str]) -> Iterator[str]:
    known = errors_page.codes() | {"malformed"}
    listed = _LISTED_CODE.findall(texts[_OPERATING])
    for path, text in texts.items():
        for name in [*_CODE.findall(text), *(listed if path == _OPERATING else ())]:
            if name not in known:
                yield f"{_name(path)}: there is no error code {name}"
    for name in sorted(known):
        if f"`{name}`" not in texts[_ERRORS]:
            yield f"docs/errors.md: the error code {name} is missing"


def _paths(texts: dict[Path, str]) -> Iterator[str]:
    for path, text in texts.items():
        for name in sorted(set(_FILE.findall(text))):
            if not any(ROOT.glob(name.rstrip("/"))):
                yield f"{_name(path)}: there is no file {name}"
        for name in sorted(set(_MODULE.findall(text))):
            if not any((ROOT / name.replace(".", "/")).with_suffix(suffix).exists() for suffix in ("", ".py")):
                yield f"{_name(path)}: there is no module {name}"


def _modules(text: str) -> Iterator[str]:
    """A module that ARCHITECTURE.md names by its room, such as `queue.claims`."""
    for room, name in sorted(set(_OF_ROOM.findall(text))):
        rooms = [folder / room for folder in _PACKAGES if (folder / room).is_dir()]
        if rooms and not any((folder / f"{name}.py").exists() for folder in rooms):
            yield f"ARCHITECTURE.md: there is no module {room}.{name}"


def _tables(text: str) -> Iterable[str]:
    return [part for part in text.split("\n\n") if part.startswith("|")]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


if __name__ == "__main__":
    sys.exit(main())
