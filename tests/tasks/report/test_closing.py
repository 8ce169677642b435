"""The closing table: every row of it is in the files, and says better and worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.project.stage import StageContext
from tasks.report.closing import ClosingRow, closing_table
from tasks.report.words import show, show_change
from tests.tasks.report.page import Edit


def by_quantity(context: StageContext) -> dict[str, ClosingRow]:
    return {row.quantity: row for row in closing_table(context.root, ["zero"])}


def test_every_row_of_the_closing_table_is_in_the_files(registry_project: StageContext) -> None:
    rows = by_quantity(registry_project)
    assert rows["weights (non-zero)"].cells == ("163", "37", "37")  # (3 * 4 * 9 + 4) + (16 * 3 + 3)
    assert rows["weights (non-zero)"].change == "\N{MINUS SIGN}77.3%"
    macs = rows["MACs (non-zero)"].values
    assert macs[0] == 3 * 4 * 9 * 64 + 4 * 64 + 16 * 3  # convolution, pooling, linear layer
    assert macs[1] == macs[2] < macs[0]
    assert rows["accuracy (test)"].cells == ("95.00%", "94.00%", "96.00%")
    assert (rows["accuracy (test)"].change, rows["accuracy (test)"].improved) == ("+1.00 points", True)
    assert rows["defect inheritance rate"].values == (0.8, 0.5, 0.3)
    assert rows["latency p50, onnxruntime, batch 16"].values == (8.0, None, 6.4)
    assert rows["latency p50, deepsparse"].note == "not installed"
    for row in rows.values():
        assert (registry_project.root / row.found_in).is_file()


@pytest.mark.parametrize(
    ("accepted", "quantity"),
    [(True, "accuracy (test), openvino_int8"), (False, "accuracy (test), openvino_int8, loses too much on val")],
)
def test_what_int8_costs_has_a_row(
    registry_project: StageContext, edit_json: Edit, accepted: bool, quantity: str
) -> None:
    rounded = {
        "source": {"test_accuracy": 0.95, "accepted": True},
        "compacted": {"test_accuracy": 0.9, "accepted": accepted},
    }
    edit_json(
        registry_project.artifact("benchmark_latency", "export.json"),
        lambda e: e.update(int8={"openvino_int8": rounded}),
    )
    row = {row.quantity: row for row in closing_table(registry_project.root, ["zero"])}[quantity]
    assert (row.values, row.change) == ((0.95, None, 0.9), "\N{MINUS SIGN}5.00 points")


def test_the_timed_model_has_its_column(registry_project: StageContext, edit_json: Edit) -> None:
    edit_json(
        registry_project.artifact("benchmark_latency", "export.json"),
        lambda e: e["reengineered"].update(model="reengineered"),
    )
    assert by_quantity(registry_project)["latency p50, onnxruntime, batch 1"].values == (0.5, 0.4, None)


def test_a_worse_accuracy_is_not_an_improvement(registry_project: StageContext, edit_json: Edit) -> None:
    edit_json(
        registry_project.artifact("evaluate", "metrics.json"),
        lambda m: m["reengineered_finetuned"].update(accuracy=0.9),
    )
    row = by_quantity(registry_project)["accuracy (test)"]
    assert (row.change, row.improved) == ("\N{MINUS SIGN}5.00 points", False)


def test_a_problem_without_results_has_no_rows(tmp_path: Path) -> None:
    assert closing_table(tmp_path, ["nothing"]) == []


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "count", "\N{EN DASH}"),
        (0.98765, "fraction", "98.77%"),
        (12345, "count", "12,345"),
        (2_345_678, "count", "2.35 M"),
        (0.12345, "milliseconds", "0.123 ms"),
    ],
)
def test_show(value: float | None, kind: Any, text: str) -> None:
    assert show(value, kind) == text


def test_show_change() -> None:
    assert show_change(8.0, 6.0, "milliseconds") == "\N{MINUS SIGN}25.0%"
    assert show_change(0, 6.0, "count") == "\N{EN DASH}"
