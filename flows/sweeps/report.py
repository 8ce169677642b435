"""The page of a sweep, and what `seam sweep status` shows: from its records alone, without a lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.sweeps.records import Records
from seam.files import write_text
from tasks.project.params import flat, load_params
from tasks.project.subject import Subject, stage_folder
from tasks.report.sweep import render_sweep


def rows_of(records: Records) -> list[dict[str, Any]]:
    """A row a point, in the order of the plan."""
    begun = records.begun()
    return [_row(point, records) for point in begun["points"]] if begun else []


def _row(point: dict[str, Any], records: Records) -> dict[str, Any]:
    """The report of a point with its own is linked to; `artifacts` holds those of params.yaml as it is alone."""
    record = records.read(point["key"])
    outcome = record.outcome if record else {}
    return {
        **point,
        "state": record.state if record else "waiting",
        "error": record.error if record else "",
        "headline": outcome.get("card"),
        "seconds": outcome.get("seconds"),
        "worker": outcome.get("worker", ""),
        "link": "" if point["setting"] else _report_of(point),
    }


def _report_of(point: dict[str, Any]) -> str:
    """Relative to the page."""
    subject = Subject(point["kind"], point["subject"])
    return str(Path("../..", stage_folder(Path(), subject.row.reports, subject), "report.html"))


def write_report(root: Path, records: Records) -> Path:
    """Render sweeps/NAME/report.html; returns where it is, relative to the project."""
    begun = records.begun()
    assert begun is not None, "a sweep is begun before it is reported"
    page = records.folder / "report.html"
    values = flat(load_params(root / "params.yaml").model_dump(mode="json"))
    base = {name: values.get(name) for name in ("seed", *begun["plan"]["grid"])}
    write_text(page, render_sweep(begun["plan"]["name"], begun["plan"], rows_of(records), base))
    return page.relative_to(root)
