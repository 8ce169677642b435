"""`seam report`: where the reports are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seam.errors import ConfigError
from tasks.project.params import Params, load_params
from tasks.project.stages import KINDS
from tasks.project.subject import chosen, entries, stage_folder


def existing_reports(root: Path, names: Mapping[str, Sequence[str]]) -> list[Path]:
    """The reports that there are: of the named subjects, by kind; of all subjects if none is named.

    Raises:
        ConfigError: one of those named has none yet, or none has one.
    """
    paths = _reports_of(root, load_params(root / "params.yaml"), names)
    missing = [str(p.relative_to(root)) for p in paths if not p.is_file()]
    how = ", ".join(f"of a {kind} with `seam {KINDS[kind].command}`" for kind in names)
    if any(names.values()) and missing:
        raise ConfigError(f"no report yet: {', '.join(missing)}; make it, {how}.")
    if len(missing) == len(paths):
        raise ConfigError(f"no report yet; make it, {how}.")
    return [path for path in paths if path.is_file()]


def _reports_of(root: Path, params: Params, names: Mapping[str, Sequence[str]]) -> list[Path]:
    """Where the reports of the named subjects are or will be; of all of them if none is named."""
    every = not any(names.values())
    subjects = [
        subject
        for kind in KINDS.values()
        if names.get(kind.name) or (every and entries(params, kind))
        for subject in chosen(params, kind, names.get(kind.name, ()))
    ]
    return [stage_folder(root, s.row.reports, s) / "report.html" for s in subjects]
