"""The closing table: original against re-engineered, every figure read from the result files in `artifacts/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seam.files import read_json
from tasks.stage import stage_folder

MODELS = ("source", "reengineered", "reengineered_finetuned")
LABELS = {
    "source": "original",
    "standard_finetuned": "original, fine-tuned",
    "reengineered": "re-engineered",
    "reengineered_finetuned": "re-engineered, fine-tuned",
    "head_only": "original, all weights, new head",
    "restricted": "original, only target classes' logits",
    "adapted": "original, all weights, head and norm layers",
    "reengineered_refit": "searched mask, same density",
    "taylor_mask": "Taylor mask, same density",
    "magnitude_mask": "magnitude mask, same density",
    "random_mask": "random mask, same density",
    "retrained": "trained from scratch on the problem",
}
"""How the models are called where people read."""
Kind = Literal["count", "fraction", "milliseconds"]
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class ClosingRow:
    """One quantity of one problem for the three models; None where it was not measured."""

    problem: str
    quantity: str
    kind: Kind
    values: tuple[float | None, float | None, float | None]
    """Of `MODELS`, in that order."""
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
            rows += [ClosingRow(problem, "defect inheritance rate", "fraction", _of(attacked, "defect_inheritance_rate"), False, where)]
        exported = _exported(root, problem)
        timed = exported.get("reengineered", {}).get("model", "reengineered")
        rows += _latency_rows(problem, _read(root, "benchmark_latency", problem), timed)
        rows += _int8_rows(problem, exported.get("int8", {}), timed)
    return rows


def show(value: float | None, kind: Kind) -> str:
    """A value as people read it: 12,345 or 1.23 M; 98.76%; 1.234 ms."""
    if value is None:
        return NOTHING
    if kind == "fraction":
        return f"{100 * value:.2f}%"
    if kind == "milliseconds":
        return f"{value:.3f} ms" if value < 10 else f"{value:.1f} ms"
    return f"{value / 1e6:,.2f} M" if value >= 1e6 else f"{value:,.0f}"


def show_change(before: float | None, after: float | None, kind: Kind) -> str:
    """The change between two values: "+0.56 points" for fractions, "-82.1%" for the rest."""
    if before is None or after is None or (kind != "fraction" and before == 0):
        return NOTHING
    text = f"{100 * (after - before):+.2f} points" if kind == "fraction" else f"{100 * (after / before - 1):+.1f}%"
    return text.replace("-", "\N{MINUS SIGN}")


def _exported(root: Path, problem: str) -> dict[str, Any]:
    """What the benchmark says of its models: which of `MODELS` it calls `reengineered`, what int8 costs."""
    path = stage_folder(root, "benchmark_latency", problem) / "export.json"
    return read_json(path) if path.is_file() else {}


def served_form(timed: Mapping[str, Any]) -> str:
    """The model that consumers get, of those that an engine timed."""
    return "compacted" if "compacted" in timed else "reengineered"


def _latency_rows(problem: str, measured: Mapping[str, Any], timed: str) -> list[ClosingRow]:
    rows = []
    where = _where("benchmark_latency", problem)
    for engine, result in measured.items():
        if "unavailable" in result:
            rows.append(ClosingRow(problem, f"latency p50, {engine}", "milliseconds", (None, None, None), False, where, str(result["unavailable"])))
            continue
        served = served_form(result)
        for batch in result["source"]:
            before, after = (result[model].get(batch, {}).get("latency_ms_p50") for model in ("source", served))
            values = (before, after, None) if timed == "reengineered" else (before, None, after)
            rows.append(ClosingRow(problem, f"latency p50, {engine}, batch {batch.removeprefix('batch')}", "milliseconds", values, False, where))
    return rows


def _int8_rows(problem: str, rounded: Mapping[str, Any], timed: str) -> list[ClosingRow]:
    """What rounding leaves of the accuracy on each engine, where it was done."""
    rows = []
    for engine, models in rounded.items():
        before, after = (models[model]["test_accuracy"] for model in ("source", "compacted"))
        values = (before, after, None) if timed == "reengineered" else (before, None, after)
        quantity = f"accuracy (test), {engine}" + ("" if models["compacted"]["accepted"] else ", loses too much on val")
        rows.append(ClosingRow(problem, quantity, "fraction", values, True, f"artifacts/{problem}/benchmark_latency/export.json"))
    return rows


def _of(results: Mapping[str, Any], key: str) -> tuple[float | None, float | None, float | None]:
    first, second, third = (results.get(model, {}).get(key) for model in MODELS)
    return first, second, third


def _read(root: Path, stage: str, problem: str) -> dict[str, Any]:
    path = stage_folder(root, stage, problem) / "metrics.json"
    return read_json(path) if path.is_file() else {}


def _where(stage: str, problem: str) -> str:
    return f"artifacts/{problem}/{stage}/metrics.json"
