"""Markdown made by code: what is broken, what stays whole."""

from tasks.report.markdown import table, wrapped


def test_prose_is_broken_at_the_width_and_what_is_not_prose_stays() -> None:
    kept = ["| a | table's row |", "# a heading of many words", "    a command of words", "![a picture](of/it.svg)"]
    text = "\n".join([*kept, "one two three four", "- five six seven", "six `a b c d` z"])
    assert wrapped(text, 10).split("\n") == [
        *kept,
        *("one two", "three four"),
        *("- five six", "  seven"),
        *("six", "`a b c d`", "z"),
    ]


def test_a_table_has_a_line_below_its_header_and_bars_in_cells_do_not_end_them() -> None:
    assert table(["a", "b"], [["1", "x | y"]]) == "| a | b |\n|---|---|\n| 1 | x \\| y |"
