"""What a stage works on: a problem, a target, a student: its folder, label and DVC key."""

from __future__ import annotations

from pathlib import Path

from seam.errors import ConfigError
from tasks.project.params import Params
from tasks.project.stages import SHARED_STAGES
from tasks.project.students import StudentName


def stage_folder(root: Path, stage: str, problem: str | None, student: StudentName | None = None) -> Path:
    """artifacts/<stage>/, artifacts/<problem>/<stage>/, or artifacts/<target>/students/<student>/."""
    artifacts = root / "artifacts"
    if stage in SHARED_STAGES:
        return artifacts / stage
    assert problem is not None, f"{stage} needs a problem"
    if stage == "transfer":
        assert student is not None, f"{stage} needs a student"
        return artifacts / problem / "students" / student.folder
    return artifacts / problem / stage


def label_of(stage: str, problem: str | None, student: StudentName | None = None) -> str:
    """A stage as people read it: "search [digit-3]"."""
    subject = " ".join(str(part) for part in (problem, student) if part is not None)
    return f"{stage} [{subject}]" if subject else stage


def dvc_key(problem: str | None, student: StudentName | None = None) -> str | None:
    """What a stage is called for in DVC, behind the `@`: digit-3, or flowers-seam-50-0."""
    return problem if student is None else f"{problem}-{student.key}"


def check_problem(params: Params, problem: str) -> None:
    """Raise a ConfigError unless `problem` is one of the parameters'."""
    if problem not in params.problems:
        raise ConfigError(
            f"unknown problem '{problem}', expected one of: {', '.join(params.problems)}; add it under `problems` in"
            " params.yaml."
        )


def check_target(params: Params, target: str) -> None:
    """Raise a ConfigError unless `target` is one of the parameters'."""
    if target not in params.targets:
        known = (
            f"one of: {', '.join(params.targets)}" if params.targets else "a data set under `targets`, which has none"
        )
        raise ConfigError(f"unknown target '{target}', expected {known}; add it under `targets` in params.yaml.")
