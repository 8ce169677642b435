"""The methods as people read them: the table of the documentation, and what was measured of each. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from seam.files import read_json
from seam.methods.catalogue import MODULES, STUDENTS, Method, find
from tasks.report.markdown import table
from tasks.report.words import show

CARDS = Path("benchmarks", "results", "rq3")
"""In a clone: the result cards of the transfers, one a target and preset."""


def markdown_table() -> str:
    """The table of methods in docs/transfer.md, rendered from the catalogue."""
    rows = [(f"`{m.name}`", m.label, m.words, _share(m)) for m in STUDENTS]
    return table(("method", "in figures", "what it does", "share removed, without a percentage"), rows)


def modules_table() -> str:
    """The table of methods in docs/parts.md."""
    rows = [(f"`{m.name}`", m.label, m.words) for m in MODULES]
    return table(("method", "in figures", "what it makes"), rows)


def measured(method: Method, root: Path) -> Iterator[str]:
    """A line for every student of a method in the result cards, means over seeds; none where there are no cards.

    Args:
        method: of the catalogue.
        root: a clone of the project.
    """
    for path in sorted((root / CARDS).glob("*.json")):
        card = read_json(path)
        rows = [row for row in card["methods"].values() if find(row["base"]) == method]
        for row in sorted(rows, key=lambda row: row["removal"]):
            yield (
                f"{card['target']} ({card['preset']}, {len(row['seeds'])} seeds), {_removed(row['removal'])}:"
                f" accuracy {show(row['accuracy']['mean'], 'fraction')},"
                f" inherited {show(row['defect_inheritance_rate']['mean'], 'fraction')}"
            )


def _share(method: Method) -> str:
    return f"`transfer.{method.removes}`" if method.removes else "none"


def _removed(share: float) -> str:
    return f"{share:.0%} removed" if share else "nothing removed"
