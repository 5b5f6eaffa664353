"""The documents: links lead somewhere, every page is in the index, and what they name exists."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest
from tests.scripts import check_names, make_reference
from tests.scripts.reference import errors_page

from imagefleet.errors import ImageFleetError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = [ROOT / "producer" / "imagefleet", ROOT / "worker" / "imagefleet_worker"]
ROOMS = sorted(path.parent for package in PACKAGES for path in package.rglob("__init__.py") if path.parent != package)
#: The names in a line of a room's docstring: "- `one`, `two`: what they do; `three`: what it does".
_NAMES = re.compile(r"(?:^|; )(`\w+`(?:, `\w+`)*):")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")), ROOT / "examples" / "README.md"]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of *page*, as GitHub makes them."""
    found: dict[str, int] = {}
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
        if found[name]:
            found[f"{name}-{found[name]}"] = 0
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_index_has_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f"({page.name})" not in index] == ["README.md"]


def wrong_names(docstring: str, members: set[str]) -> dict[str, set[str]]:
    """Which of *members* the lines of *docstring* leave out, which they name twice, and which they name besides."""
    lines = re.findall(r"^- (.*(?:\n  .*)*)", docstring, re.MULTILINE)
    named = Counter(name for line in lines for group in _NAMES.findall(line) for name in re.findall(r"\w+", group))
    found = {
        "missing": members - set(named),
        "twice": {name for name, times in named.items() if times > 1},
        "not there": set(named) - members,
    }
    return {what: names for what, names in found.items() if names}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_room_names_each_of_its_modules_once(room: Path) -> None:
    """The docstring of `__init__.py` lists all members, each on one line, and no others."""
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    members = {path.stem for path in room.glob("*") if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert wrong_names(docstring, members - {"__init__", "__main__"}) == {}


def test_modules_that_a_room_leaves_out_or_names_twice_are_found() -> None:
    docstring = "A room.\n\n- `one`, `two`: first; `three`: next\n- `two`: again\n- `four`: gone\n\nMay import `five`."
    found = wrong_names(docstring, {"one", "two", "three", "five"})
    assert found == {"missing": {"five"}, "twice": {"two"}, "not there": {"four"}}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


def test_reference_pages_are_fresh() -> None:
    assert make_reference.stale() == []


def test_documents_and_code_name_the_same_things() -> None:
    assert list(check_names.problems()) == []


@pytest.mark.parametrize(
    "text",
    [
        "`IMAGEFLEET_MODEL_SORCE`",
        "it fails as `out_of_memmory`",
        "`imagefleet_jobs_totals`",
        "see imagefleet_rows",
        "`tests/none.py`",
        "python -m tests.none",
    ],
)
def test_names_that_the_code_does_not_have_are_found(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    (problem,) = check_names.problems([*check_names.DOCUMENTS, page])
    assert problem.startswith("page.md: there is no ")


def test_names_that_the_documents_leave_out_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, old, new in (("_METRICS", "imagefleet_leases_held", "x"), ("_OPERATING", "| 75 |", "| 76 |")):
        page = tmp_path / f"{name}.md"
        page.write_text(getattr(check_names, name).read_text().replace(old, new))
        monkeypatch.setattr(check_names, name, page)
        found = list(check_names.problems([*check_names.DOCUMENTS, page]))
        assert len(found) == 1
        monkeypatch.undo()


def test_an_error_without_a_remedy_is_found() -> None:
    class Nameless(ImageFleetError):
        """It has a cause only."""

    with pytest.raises(AssertionError, match="Fault"):
        errors_page._explain(Nameless)
