"""The students of one target compared: accuracy and inherited defects of every method, the Pareto plot, the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seam.files import read_json, write_csv, write_json, write_text
from tasks.project.stage import StageContext, StageResult, collect_warnings, main
from tasks.report.comparison import (
    MEASURES,
    STANDARD,
    Measured,
    best_student,
    compare_methods,
    paired_with,
    read_students,
    references,
)
from tasks.report.page import Plot
from tasks.report.target import plots, render_transfer_report
from tasks.tracking.gates import Verdict, judge_student
from tasks.tracking.policy import POLICY, load_policy

_TABLE = (
    "method",
    "removal",
    "seeds",
    "accuracy",
    "accuracy_sd",
    "robust_accuracy",
    "defect_inheritance_rate",
    "defect_inheritance_rate_sd",
    "above_floor",
    "above_floor_low",
    "above_floor_high",
    "noise",
    "pgd",
    "density_start",
    "density_end",
    "regrown",
    "val_accuracy",
    "passes",
    "seconds",
)
_POINTS = ("method", "base", "removal", "seed", "defect_inheritance_rate", "accuracy", "density_start", "density_end")


def compare_transfers(context: StageContext) -> StageResult:
    """Write comparison.json, comparison.csv (a row a method), pareto.csv (a row a student), pareto.svg and report.html.

    Raises:
        DataError: there is no student, or one is damaged, altered, or made from another source.
        ConfigError: the registry policy, whose gates are judged here, is not valid.
    """
    policy = load_policy(context.root / POLICY)
    attack = read_json(context.artifact("attack_target", "attack.json"))
    data = read_json(context.artifact("validate_target", "validation.json"))
    context.progress(0.1, "read students")
    students, missing = read_students(context, attack["source_sha256"])
    with collect_warnings(context) as doubts:
        context.progress(0.3, "paired intervals")
        rows = compare_methods(context, students)
    chosen = best_student(students, context.params.transfer.registered_method)
    verdicts: list[Verdict] = []
    if chosen is not None:
        paired = paired_with(chosen, students, policy.evidence.level, context.params.seed)
        verdicts = judge_student(policy, chosen.metrics, references(rows), paired, chosen.chance)
    warnings = [
        *data.get("warnings", ()),
        *attack["warnings"],
        *(f"{s.name}: {text}" for s in students for text in s.metrics["warnings"]),
        *doubts,
    ]
    warnings += [
        f"{name}: there is no such student, its training failed or was not run; the table is without it."
        for name in missing
    ]
    comparison = {
        "target": context.name,
        "classes": data["classes"],
        **{name: attack[name] for name in ("num_train", "num_val")},
        "num_test": attack["num_images"],
        "methods": rows,
        "registered": _chosen(chosen),
        "gates": [v.as_dict() for v in verdicts],
        "warnings": list(dict.fromkeys(warnings)),
    }
    context.progress(0.8, "report")
    with context.publish() as out:
        _write(context, out, comparison, students, attack, plots(rows))
    named = [m for m in (STANDARD, context.params.transfer.registered_method) if m in rows]
    shown = {f"{method}_defect_inheritance_rate": rows[method]["defect_inheritance_rate"]["mean"] for method in named}
    return context.result({"students": len(students), **shown, "gates_met": _met(verdicts)})


def _write(
    context: StageContext,
    out: Path,
    comparison: Mapping[str, Any],
    students: Sequence[Measured],
    attack: Mapping[str, Any],
    drawn: Sequence[Plot],
) -> None:
    write_json(out / "comparison.json", comparison)
    write_csv(out / "comparison.csv", _TABLE, (_flat(method, row) for method, row in comparison["methods"].items()))
    write_csv(out / "pareto.csv", _POINTS, (_point(comparison["methods"], student) for student in students))
    write_text(out / "pareto.svg", drawn[0].svg)
    write_text(out / "report.html", render_transfer_report(context, comparison, attack, drawn))


def _chosen(student: Measured | None) -> dict[str, Any] | None:
    """What identifies the student that is registered, and its numbers."""
    if student is None:
        return None
    keys = (
        *MEASURES,
        "val_accuracy",
        "num_images",
        "density_start",
        "density_end",
        "params_total",
        "params_nonzero",
        "student_sha256",
    )
    return {"method": student.name.method, "seed": student.name.seed, **{key: student.metrics[key] for key in keys}}


def _met(verdicts: Sequence[Verdict]) -> str:
    return f"{sum(v.passed for v in verdicts)} of {len(verdicts)}" if verdicts else "none judged"


def _flat(method: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of comparison.csv."""
    flat = {"method": method, "removal": row["removal"], "seeds": len(row["seeds"]), "regrown": row["regrown"]}
    flat |= {key: value["mean"] for key, value in row.items() if isinstance(value, dict) and "mean" in value}
    flat |= {f"{measure}_sd": row[measure]["sd"] for measure in MEASURES}
    floor = row.get("above_floor")
    return {
        **flat,
        **(
            {"above_floor": floor["difference"], "above_floor_low": floor["low"], "above_floor_high": floor["high"]}
            if floor
            else {}
        ),
    }


def _point(rows: Mapping[str, Any], student: Measured) -> dict[str, Any]:
    row = rows[student.name.method]
    own = {key: student.metrics[key] for key in ("defect_inheritance_rate", "accuracy", "density_start", "density_end")}
    return {
        "method": student.name.method,
        "base": row["base"],
        "removal": row["removal"],
        "seed": student.name.seed,
        **own,
    }


if __name__ == "__main__":
    main(compare_transfers, __doc__)
