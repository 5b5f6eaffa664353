"""Scripts: what the header of a Lua file declares is what its command carries."""

import re
from pathlib import Path

import pytest

from imagefleet.store import scripts
from imagefleet.store.scripts import Header, load
from imagefleet_worker.queue import claims

FILES = [*scripts.LUA.glob("*.lua"), *claims.LUA.glob("*.lua")]
LIBS = [*scripts.LUA.glob("lib/*.lua"), *claims.LUA.glob("lib/*.lua")]

GREET = """-- Greet.
--
-- KEYS
--   door, house   where
--     more words of that
--   windows...    all others
-- ARGV
--   name          who
--
-- Reply: 1.
--   reply         is no name
-- LIBERTY
return {door, house, windows[1], name}  -- a comment
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "greet.lua").write_text(GREET)
    return tmp_path


def test_values_stand_where_the_header_names_them(folder: Path) -> None:
    greet = load("greet", folder=folder)

    command = greet(name="Ann", windows=["w1", "w2"], house="h", door="d")

    assert command == ("EVAL", greet.text, 4, "d", "h", "w1", "w2", "Ann")


def test_a_name_is_a_local_of_the_script(folder: Path) -> None:
    assert load("greet", folder=folder).text == (
        "local door, house = KEYS[1], KEYS[2]\n"
        "local windows = {} for i = 3, #KEYS do windows[i - 2] = KEYS[i] end\n"
        "local name = ARGV[1]\n"
        "return {door, house, windows[1], name}  -- a comment"
    )


@pytest.mark.parametrize("change", [{"name": None}, {"nmae": "Ann"}])
def test_a_call_without_a_value_or_with_one_too_many_says_which(folder: Path, change: dict[str, str | None]) -> None:
    values = {"name": "Ann", "windows": [], "house": "h", "door": "d", **change}

    with pytest.raises(TypeError, match=rf"greet\.lua.*: {next(iter(change))}"):
        load("greet", folder=folder)(**{name: value for name, value in values.items() if value is not None})


def test_a_script_without_a_name_that_its_lib_needs_is_not_loaded(folder: Path) -> None:
    (folder / "lib" / "bell.lua").write_text("-- KEYS\n--   bell\nlocal function ring() return bell end\n")
    (folder / "ring.lua").write_text("-- LIB bell\n-- KEYS\n--   rope\nreturn ring()\n")

    with pytest.raises(ValueError, match=r"ring\.lua uses lib/bell\.lua, but does not name bell"):
        load("ring", folder=folder)


def test_two_values_of_one_name_are_refused(folder: Path) -> None:
    (folder / "twice.lua").write_text("-- KEYS\n--   a\n-- ARGV\n--   a\nreturn 1\n")

    with pytest.raises(ValueError, match="one name to two"):
        load("twice", folder=folder)


def test_a_lib_that_two_others_need_is_joined_once() -> None:
    """`cancel` needs `end_waiting`, which needs `now` and `leave`."""
    text = load("cancel").text

    assert text.count("local function leave(") == 1
    assert text.index("local now") < text.index("local function end_waiting(")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_script_uses_all_that_it_declares_and_says_what_it_replies(file: Path) -> None:
    text, header = file.read_text(), Header.parse(file.read_text())
    joined = load(file.stem, folder=file.parent).text

    assert header.keys
    assert "-- Reply" in text
    for name in (*header.keys, *header.args):
        assert len(re.findall(rf"\b{name.removesuffix('...')}\b", joined)) > 1, name
    assert not re.search(r"\b(KEYS|ARGV)\b", "\n".join(line for line in text.splitlines() if line[:2] != "--"))


def test_the_clock_of_redis_is_read_in_one_place() -> None:
    assert [file.name for file in (*FILES, *LIBS) if "'TIME'" in file.read_text()] == ["now.lua"]


def test_no_line_is_too_long() -> None:
    assert [file.name for file in (*FILES, *LIBS) for line in file.read_text().splitlines() if len(line) > 120] == []
