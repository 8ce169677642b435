"""The students of one target side by side.

Means over seeds, paired intervals, and what is inherited above the floor.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from seam.defects.inheritance import Inheritance, defect_inheritance
from seam.errors import DataError
from seam.files import read_json
from seam.measures.intervals import Answers, Interval, Measure, inheritance_above_floor, paired_interval
from seam.methods.catalogue import FLOOR, YARDSTICK
from tasks.project.stage import StageContext
from tasks.project.students import StudentName, asked_removal
from tasks.report.trained import is_regrown, merged_settings

STANDARD, SCRATCH = YARDSTICK.name, FLOOR.name
"""The yardstick, and the floor of what a student that inherited nothing loses under the attack."""
MEASURES: tuple[Measure, ...] = ("accuracy", "robust_accuracy", "defect_inheritance_rate")
_ALSO = ("density_start", "density_end", "val_accuracy", "passes", "seconds")
_LEVEL = 0.95


@dataclass(frozen=True)
class Measured:
    """One student and its answers to the test images."""

    name: StudentName
    metrics: dict[str, Any]
    answers: Answers
    chance: float
    """Test accuracy of always guessing the commonest class."""

    def value(self, key: str) -> float | None:
        """A number of the metrics; "noise" and "pgd" are those below `random_noise` and `whitebox`."""
        if key == "noise":
            return _optional(self.metrics["random_noise"]["defect_inheritance_rate"])
        if key == "pgd":
            return _optional(self.metrics["whitebox"]["pgd"]["robust_accuracy"])
        return _optional(self.metrics[key])


def read_students(context: StageContext, source_sha256: str) -> tuple[list[Measured], list[StudentName]]:
    """The students that are there, and those that are not, of all that the parameters name.

    Raises:
        DataError: none is there, or one is damaged, altered, or made from another source.
    """
    found, missing = [], []
    for name in context.params.transfer.students:
        if (context.folder("transfer", name) / "metrics.json").is_file():
            found.append(_read(context, name, source_sha256))
        else:
            missing.append(name)
    if not found:
        raise DataError(f"target '{context.name}': expected students to compare, got none; run the stage transfer.")
    return found, missing


def _read(context: StageContext, name: StudentName, source_sha256: str) -> Measured:
    folder = context.folder("transfer", name)
    path = folder / "predictions.safetensors"
    try:
        metrics, predictions = read_json(folder / "metrics.json"), load_file(path)
        labels, clean, attacked = (predictions[kind] for kind in ("labels", "clean", "adversarial"))
        recorded = [metrics[key] for key in MEASURES]
    except (OSError, ValueError, KeyError, SafetensorError) as e:
        raise DataError(f"{path}: expected the answers of a student, got {e}; run the stage transfer again.") from e
    if metrics["source_sha256"] != source_sha256:
        raise DataError(
            f"{folder}: made from the source with sha256 {metrics['source_sha256']}, got {source_sha256}; run the stage"
            " transfer again."
        )
    if [asdict(_silent(clean, attacked, labels))[key] for key in MEASURES] != recorded:
        raise DataError(
            f"{path}: expected the answers that metrics.json was made of, got others: a file was altered; run the stage"
            " transfer again."
        )
    chance = float(labels.bincount().max() / len(labels))
    return Measured(name, metrics, Answers.of(clean, attacked, labels), chance)


def _silent(clean: torch.Tensor, attacked: torch.Tensor, labels: torch.Tensor) -> Inheritance:
    """The rates, without the warning that the student's own stage gave."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return defect_inheritance(clean, attacked, labels)


def compare_methods(context: StageContext, students: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """Method -> means and standard deviations over its seeds, against standard fine-tuning, and above the floor.

    An interval is None where the reference was not trained, or a rate is undefined.
    """
    by_method: dict[str, list[Measured]] = {}
    for student in students:
        by_method.setdefault(student.name.method, []).append(student)
    ordered = [m for m in context.params.transfer.methods if m in by_method]
    return {method: _row(context, method, by_method) for method in ordered}


def paired_with(
    chosen: Measured, students: Sequence[Measured], level: float, seed: int
) -> dict[tuple[str, Measure], Interval | None]:
    """(method, measure) -> how much one student differs from all of a method, on the same images."""
    by_method: dict[str, list[Answers]] = {}
    for student in students:
        by_method.setdefault(student.name.method, []).append(student.answers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a rate is not defined; the table says so
        return {
            (method, measure): paired_interval(chosen.answers, answers, measure, seed, level=level)
            for method, answers in by_method.items()
            for measure in MEASURES
        }


def _row(context: StageContext, method: str, by_method: Mapping[str, Sequence[Measured]]) -> dict[str, Any]:
    students, params = by_method[method], context.params
    numbers: dict[str, Any] = {
        key: _spread([s.value(key) for s in students]) for key in (*MEASURES, "noise", "pgd", *_ALSO)
    }
    row: dict[str, Any] = {
        "base": students[0].name.base,
        "removal": asked_removal(method, params.transfer.config),
        "seeds": [s.name.seed for s in students],
        "num_images": students[0].metrics["num_images"],
        **numbers,
    }
    row |= {
        "regrown": is_regrown(row),
        "best_epoch": [s.metrics["best_epoch"] for s in students],
        "settings": merged_settings([s.metrics for s in students]),
    }
    standard, scratch = by_method.get(STANDARD), by_method.get(SCRATCH)
    answers = [s.answers for s in students]
    if standard is not None and method != STANDARD:
        others = [s.answers for s in standard]
        row["against_standard"] = {
            measure: _plain(paired_interval(answers, others, measure, params.seed, level=_LEVEL))
            for measure in MEASURES
        }
    if scratch is not None and method != SCRATCH:
        row["above_floor"] = _plain(
            inheritance_above_floor(answers, [s.answers for s in scratch], params.seed, level=_LEVEL)
        )
    return row


def best_student(students: Sequence[Measured], method: str | None) -> Measured | None:
    """Of a method's students the one with the best val accuracy (the first of equals); None if there is none."""
    own = [s for s in students if s.name.method == method]
    return max(own, key=lambda s: float(s.metrics["val_accuracy"])) if own else None


def references(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Base method -> the means that gates compare with; of several removals of one method, the first."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows.values():
        means: dict[str, Any] = {measure: row[measure]["mean"] for measure in MEASURES}
        found.setdefault(row["base"], {**means, "num_images": row["num_images"]})
    return found


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation (n - 1) over seeds; None where one is undefined, or there are too few."""
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return {"mean": None, "sd": None}
    return {"mean": statistics.fmean(known), "sd": statistics.stdev(known) if len(known) > 1 else None}


def _plain(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else asdict(interval)


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
