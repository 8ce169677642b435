"""`seam methods`: what there is to choose from, and the card of each."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from flows.project import package_root
from seam.methods.catalogue import CATALOGUE, find
from tasks.report.methods import CARDS, measured

_WIDTH = 100


def list_methods() -> Iterator[str]:
    """One line for each method: its name, how it is called in tables, what it makes, and one sentence."""
    rows = [(m.name, m.label, m.makes, m.words) for m in CATALOGUE]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def show_method(name: str) -> Iterator[str]:
    """The card of a method, and what was measured of it.

    Raises:
        ConfigError: there is no such method.
    """
    method = find(name)
    card = method.card()
    yield f"{method.name} ({method.label}): makes {'a student' if method.makes == 'student' else method.makes}"
    yield from textwrap.wrap(card.title, _WIDTH)
    for heading, text in card.parts.items():
        yield from ("", heading, *_indented(f"{text[:1].upper()}{text[1:]}"))
    how = "; `make reproduce-rq3` makes the cards" if method.makes == "student" else ""
    lines = list(measured(method, package_root())) or [f"nothing yet{how}."]
    yield from ("", f"Measured here ({CARDS}, docs/results.md)", *(f"  {line}" for line in lines))


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
