"""`seam versions`, `seam promote`, `seam rollback`: a registered model's versions, and its champion moved by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.tracking.by_hand import promote_version, roll_back_version, versions

_DIGEST = 12
"""Letters of a digest that are shown."""


def show_versions(root: Path, name: str, console: Console, *, as_json: bool) -> None:
    """Print one line a version, newest first, then how the alias came to the champion.

    Raises:
        SeamError: there is no such model, or the registry cannot be used.
    """
    rows = versions(root, name)
    if as_json:
        console.print_json(json.dumps(rows))
        return
    table = Table("version", "aliases", "gates", "result", "source", "date", "moves")
    for row in rows:
        table.add_row(str(row["version"]), *map(escape, _cells(row)))
    console.print(table)


def promote(root: Path, name: str, version: int, why: str, *, force: bool) -> str:
    """Give a version the alias champion, whatever the champion is; see tasks.tracking.by_hand."""
    return promote_version(root, name, version, why, force=force)


def roll_back(root: Path, name: str, version: int | None, why: str) -> str:
    """Go back to an earlier champion; see tasks.tracking.by_hand."""
    return roll_back_version(root, name, version, why)


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    missed = [gate for gate, passed in row["gates"].items() if not passed]
    gates = f"not met: {', '.join(missed)}" if missed else "met" if row["gates"] else "not known"
    result, source = (row["digests"].get(name, "")[:_DIGEST] for name in ("result_sha256", "source_sha256"))
    moves = "\n".join(f"{line['when']} {line['who']}: {line['did']} ({line['why']})" for line in row["trace"])
    return " ".join(f"@{alias}" for alias in row["aliases"]), gates, result, source, row["date"], moves
