"""The methods in the documentation, and what was measured of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from seam.methods.catalogue import STUDENTS, find
from tasks.report.methods import CARDS, markdown_table, measured

ROOT = Path(__file__).parents[3]


def test_the_table_has_every_method_and_is_the_one_in_the_documentation() -> None:
    table = markdown_table()
    assert [line.split("`")[1] for line in table.splitlines()[2:]] == [m.name for m in STUDENTS]
    assert table.splitlines()[3].endswith("| `transfer.removal` |")
    (written,) = re.findall(
        r"<!-- generated: methods -->\n+(.*?)\n+<!-- /generated -->", (ROOT / "docs/transfer.md").read_text(), re.DOTALL
    )
    assert written == table


def test_means_of_the_result_cards_are_given_by_removal(tmp_path: Path) -> None:
    def row(base: str, removal: float, accuracy: float, inherited: float | None) -> dict[str, object]:
        rates = {"accuracy": {"mean": accuracy}, "defect_inheritance_rate": {"mean": inherited}}
        return {"base": base, "removal": removal, "seeds": [0, 1], **rates}

    rows = {
        "seam-90": row("seam", 0.9, 0.5, None),
        "seam": row("seam", 0.5, 0.81234, 0.1),
        "standard": row("standard", 0.0, 0.7, 0.6),
    }
    (tmp_path / CARDS).mkdir(parents=True)
    (tmp_path / CARDS / "pets.json").write_text(json.dumps({"target": "pets", "preset": "rq3", "methods": rows}))
    assert list(measured(find("seam"), tmp_path)) == [
        "pets (rq3, 2 seeds), 50% removed: accuracy 81.23%, inherited 10.00%",
        "pets (rq3, 2 seeds), 90% removed: accuracy 50.00%, inherited \N{EN DASH}",
    ]
    assert list(measured(find("standard"), tmp_path)) == [
        "pets (rq3, 2 seeds), nothing removed: accuracy 70.00%, inherited 60.00%"
    ]
    assert list(measured(find("remos"), tmp_path)) == list(measured(find("seam"), tmp_path / "none")) == []
