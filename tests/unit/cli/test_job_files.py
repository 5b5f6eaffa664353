"""Prompts as people keep them."""

import io
from pathlib import Path

import pytest

from imagefleet.cli.job_files import FileFormat, read_file, size_of
from imagefleet.errors import InvalidJob


def read(folder: Path, name: str, text: str, file_format: FileFormat | None = None) -> list[dict[str, object]]:
    (folder / name).write_text(text, "utf-8")
    return [fields for _, fields in read_file(folder / name, stdin=io.StringIO(), file_format=file_format)]


def test_each_line_of_text_is_a_prompt(tmp_path: Path) -> None:
    assert read(tmp_path, "p.txt", "a dog\n\n  a cat, \r\n") == [{"prompt": "a dog"}, {"prompt": "a cat,"}]


def test_columns_may_be_named_as_options_and_empty_cells_say_nothing(tmp_path: Path) -> None:
    text = '\ufeffprompt,size,negative,steps\n"a dog, running",64x32,blurry,\n'
    fields = {"prompt": "a dog, running", "width": 64, "height": 32, "negative_prompt": "blurry"}
    assert read(tmp_path, "p.csv", text) == [fields]


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    assert read(tmp_path, "p.jsonl", '{"prompt": "x", "seed": 1}\n') == [{"prompt": "x", "seed": 1}]


def test_standard_input_is_recognised() -> None:
    job = ("standard input line 1", {"prompt": "x"})
    assert read_file(Path("-"), stdin=io.StringIO('{"prompt": "x"}'), file_format=None) == [job]
    assert read_file(Path("-"), stdin=io.StringIO("x"), file_format=None) == [job]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.jsonl", '{"prompt": "x"}\n{oops}', "line 2"),
        ("p.jsonl", "[1]", "line 1"),
        ("p.csv", "text\nx\n", "prompt"),
        ("p.csv", "prompt\na, b\n", "line 2"),
        ("p.csv", "prompt,size\na,big\n", "512x768"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(InvalidJob, match=said):
        read(tmp_path, name, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match="nowhere"):
        read_file(tmp_path / "nowhere.txt", stdin=io.StringIO(), file_format=None)


def test_a_size_is_width_and_height() -> None:
    assert size_of("512X768") == {"width": 512, "height": 768}
