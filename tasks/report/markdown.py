"""Markdown that is made by code: lines that a terminal shows whole, and tables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120
_AS_IT_IS = re.compile(r"\||#|!\[|    |<!--")
_CODE = re.compile(r"`[^`\n]*`")
_UNBROKEN = "\N{NO-BREAK SPACE}"


def wrapped(text: str, width: int = WIDTH) -> str:
    """The same text with prose broken at `width` characters.

    Tables, headings, images and code stay as they are, and so does what is between backticks.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        if len(line) <= width or _AS_IT_IS.match(line):
            lines.append(line)
            continue
        whole = _CODE.sub(lambda code: code[0].replace(" ", _UNBROKEN), line)
        indent = "  " if line.startswith("- ") else ""
        filled = textwrap.wrap(whole, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        lines += [piece.replace(_UNBROKEN, " ") for piece in filled]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text cells; a bar in a cell does not end it."""
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    marks = ("|" + "|".join(line) + "|" if i == 1 else "| " + " | ".join(line) + " |" for i, line in enumerate(lines))
    return "\n".join(marks)
