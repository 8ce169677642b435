"""The closing table: original against re-engineered, every figure read from the result files in `artifacts/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seam.files import read_json
from tasks.project.measured import BEFORE_AND_AFTER
from tasks.project.stages import PROBLEM
from tasks.project.subject import Subject, stage_folder
from tasks.report.layouts import PredictedTime, predicted_time
from tasks.report.words import NOTHING, Kind, served_form, show, show_change


@dataclass(frozen=True)
class ClosingRow:
    """One quantity of one problem for the three models; None where it was not measured."""

    problem: str
    quantity: str
    kind: Kind
    values: tuple[float | None, float | None, float | None]
    """Of `BEFORE_AND_AFTER`, in that order."""
    higher_is_better: bool
    found_in: str
    """The file, relative to the project."""
    note: str = ""
    """Why there is nothing, where there is nothing."""

    @property
    def cells(self) -> tuple[str, str, str]:
        """The three values as text."""
        first, second, third = (show(v, self.kind) for v in self.values)
        return first, second, third

    @property
    def final(self) -> float | None:
        """The re-engineered side: fine-tuned where that was measured."""
        return self.values[2] if self.values[2] is not None else self.values[1]

    @property
    def change(self) -> str:
        """From the original to the re-engineered side: points for fractions, percent for the rest."""
        return show_change(self.values[0], self.final, self.kind)

    @property
    def improved(self) -> bool | None:
        """Whether that change is for the better; None where there is none."""
        if self.values[0] is None or self.final is None or self.change == NOTHING or self.values[0] == self.final:
            return None
        return (self.final > self.values[0]) == self.higher_is_better


def closing_table(root: Path, problems: Sequence[str]) -> list[ClosingRow]:
    """Rows of the problems that have results, in order: weights, MACs, accuracy, defect inheritance rate, latency."""
    rows: list[ClosingRow] = []
    for problem in problems:
        evaluated = _read(root, "evaluate", problem)
        if evaluated:
            where = _where("evaluate", problem)
            rows += [
                ClosingRow(problem, "weights (non-zero)", "count", _of(evaluated, "params_nonzero"), False, where),
                ClosingRow(problem, "MACs (non-zero)", "count", _of(evaluated, "macs_nonzero"), False, where),
                ClosingRow(problem, "accuracy (test)", "fraction", _of(evaluated, "accuracy"), True, where),
            ]
        attacked = _read(root, "evaluate_robustness", problem)
        if attacked:
            where = _where("evaluate_robustness", problem)
            rows += [
                ClosingRow(
                    problem,
                    "defect inheritance rate",
                    "fraction",
                    _of(attacked, "defect_inheritance_rate"),
                    False,
                    where,
                )
            ]
        exported = _exported(root, problem)
        timed = exported.get("reengineered", {}).get("model", "reengineered")
        rows += _latency_rows(problem, _read(root, "benchmark_latency", problem), timed)
        rows += _int8_rows(problem, exported.get("int8", {}), timed)
    return rows


def time_of_layout(root: Path, problem: str) -> PredictedTime | None:
    """The time that the search predicted, beside the measured one; None where either is not there."""
    measured = _read(root, "benchmark_latency", problem), _exported(root, problem)
    found = predicted_time(_read(root, "search", problem), *measured)
    return None if found is None or found.measured_latency_ms_p50 is None else found


def _exported(root: Path, problem: str) -> dict[str, Any]:
    """What the benchmark says of its models: which of `BEFORE_AND_AFTER` it calls `reengineered`, what int8 costs."""
    path = stage_folder(root, "benchmark_latency", Subject(PROBLEM.name, problem)) / "export.json"
    return read_json(path) if path.is_file() else {}


def _latency_rows(problem: str, measured: Mapping[str, Any], timed: str) -> list[ClosingRow]:
    rows = []
    where = _where("benchmark_latency", problem)
    for engine, result in measured.items():
        if "unavailable" in result:
            rows.append(
                ClosingRow(
                    problem,
                    f"latency p50, {engine}",
                    "milliseconds",
                    (None, None, None),
                    False,
                    where,
                    str(result["unavailable"]),
                )
            )
            continue
        served = served_form(result)
        for batch in result["source"]:
            before, after = (result[model].get(batch, {}).get("latency_ms_p50") for model in ("source", served))
            values = (before, after, None) if timed == "reengineered" else (before, None, after)
            rows.append(
                ClosingRow(
                    problem,
                    f"latency p50, {engine}, batch {batch.removeprefix('batch')}",
                    "milliseconds",
                    values,
                    False,
                    where,
                )
            )
    return rows


def _int8_rows(problem: str, rounded: Mapping[str, Any], timed: str) -> list[ClosingRow]:
    """What rounding leaves of the accuracy on each engine, where it was done."""
    rows = []
    for engine, models in rounded.items():
        before, after = (models[model]["test_accuracy"] for model in ("source", "compacted"))
        values = (before, after, None) if timed == "reengineered" else (before, None, after)
        quantity = f"accuracy (test), {engine}" + ("" if models["compacted"]["accepted"] else ", loses too much on val")
        rows.append(
            ClosingRow(
                problem, quantity, "fraction", values, True, f"artifacts/{problem}/benchmark_latency/export.json"
            )
        )
    return rows


def _of(results: Mapping[str, Any], key: str) -> tuple[float | None, float | None, float | None]:
    first, second, third = (results.get(model, {}).get(key) for model in BEFORE_AND_AFTER)
    return first, second, third


def _read(root: Path, stage: str, problem: str) -> dict[str, Any]:
    path = stage_folder(root, stage, Subject(PROBLEM.name, problem)) / "metrics.json"
    return read_json(path) if path.is_file() else {}


def _where(stage: str, problem: str) -> str:
    return f"artifacts/{problem}/{stage}/metrics.json"
