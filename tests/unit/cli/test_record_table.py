"""Records as a table, or one below the other where there is no room."""

import io

from rich.console import Console

from imagefleet.cli.record_table import print_rows

ID = "0b6f1c5e-6d0e-4a9c-9d58-2f9f6c1f0a11"
ROWS = [(f"{ID}\na [dog]", "succeeded", "s3://a-bucket/images/" + "x" * 60), (ID, "", "")]


def printed(width: int) -> list[str]:
    """The lines of `ROWS` on a terminal of that width."""
    file = io.StringIO()
    print_rows(
        Console(file=file, width=width, force_terminal=True, color_system=None), ("job", "status", "images"), ROWS
    )
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_table_where_there_is_room() -> None:
    assert [line.split() for line in printed(140)] == [
        ["job", "status", "images"],
        [ID, "succeeded", ROWS[0][2]],
        ["a", "[dog]"],
        [ID],
    ]


def test_blocks_where_there_is_none_and_nothing_is_cut() -> None:
    assert printed(80) == [
        f"job     {ID}",
        "        a [dog]",
        "status  succeeded",
        f"images  {ROWS[0][2]}",
        "",
        f"job     {ID}",
    ]


def test_a_sentence_is_broken_between_words_and_a_column_of_reasons_is_there_if_there_are_some() -> None:
    file = io.StringIO()
    console = Console(file=file, width=40, force_terminal=True, color_system=None)
    print_rows(console, ("job", "reason", "images"), [("a", "the scheduler Foo does not fit this pipeline", "")])
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        "job     a",
        "reason  the scheduler Foo does not fit",
        "        this pipeline",
    ]
    print_rows(console, ("job", "reason", "images"), [("a", "", "s3://b/c")])
    assert [line.split() for line in file.getvalue().splitlines()[-2:]] == [["job", "images"], ["a", "s3://b/c"]]
