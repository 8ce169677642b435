"""The report of a problem, rendered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.project.stage import StageContext
from tasks.report.card import build_card, read_evidence
from tasks.report.problem import plots, render_report
from tasks.tracking.gates import Verdict

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
REGISTRATION = {
    "registered_model": "seam-zero",
    "version": 1,
    "aliases": ["champion"],
    "promoted": True,
    "run_id": "r",
    "result_sha256": "d",
    "champion": 1,
    "against_champion": [],
    "why": "the first that meets the gates",
    "doubt": None,
}


def render(context: StageContext) -> str:
    evidence = read_evidence(context)
    verdicts = [Verdict("accuracy_drop", True, "fine"), Verdict("fewer_weights", False, "too <many>")]
    return render_report(
        context,
        build_card(context, evidence, verdicts, REGISTRATION),
        evidence,
        plots(evidence, "reengineered_finetuned"),
    )
