"""What a stage works on: one record, from which its folders, label, address in DVC and command-line flags follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seam.configs.data import DataConfig
from seam.errors import ConfigError
from tasks.project.params import Params
from tasks.project.stages import KINDS, Kind, Stage, all_stages
from tasks.project.students import StudentName

EVERY = "all"
"""In place of a subject's name."""
PIPELINE, LOCK = "dvc.yaml", "dvc.lock"
"""DVC's files of the project, and in the folder of a subject."""


@dataclass(frozen=True)
class Address:
    """A stage in DVC's words, as text: prepare_source, or problems/digit-3/dvc.yaml:search."""

    file: str
    """The dvc.yaml that has it, relative to the project; its dvc.lock lies beside it."""
    name: str
    """In that file."""

    @property
    def lock(self) -> str:
        """The dvc.lock that records it, relative to the project."""
        return str(Path(self.file).with_name(LOCK))

    def __str__(self) -> str:
        return self.name if self.file == PIPELINE else f"{self.file}:{self.name}"


@dataclass(frozen=True)
class Subject:
    """One problem, target, or whatever else `KINDS` has a row for; or one student of it."""

    kind: str
    """A key of `KINDS`."""
    name: str
    """In its section of the parameters."""
    student: StudentName | None = None

    @property
    def row(self) -> Kind:
        """What holds for all subjects of this kind."""
        return KINDS[self.kind]

    @property
    def whole(self) -> Subject:
        """The subject that a student belongs to; itself where it is no student."""
        return replace(self, student=None)

    def of(self, student: StudentName) -> Subject:
        """One student of this subject."""
        return replace(self, student=student)

    @property
    def folder(self) -> Path:
        """Of its dvc.yaml and dvc.lock, relative to the project: problems/digit-3."""
        return Path(self.row.section, self.name)

    @property
    def deed(self) -> str:
        """Its run in MLflow is called so: digit-3, or transfer flowers."""
        return f"{self.row.deed} {self.name}".lstrip()

    @property
    def command(self) -> str:
        """What makes all of its results: seam run --problem digit-3."""
        return f"seam {self.row.command} --{self.kind} {self.name}"

    def registered_name(self, params: Params) -> str:
        """Its registered model: seam-digit-3, or seam-transfer-flowers."""
        return f"{params.register_model.name_prefix}{self.deed.replace(' ', '-')}"

    def data(self, params: Params) -> tuple[str, DataConfig]:
        """Its data set, and which parameters those are: `data`, `targets.flowers`, or `modularizations.parts.data`."""
        entry = entries(params, self.row)[self.name]
        if self.row.own_data:
            return f"{self.row.section}.{self.name}", entry
        own: DataConfig | None = getattr(entry, "data", None)
        return ("data", params.data) if own is None else (f"{self.row.section}.{self.name}.data", own)

    def __str__(self) -> str:
        return self.name if self.student is None else f"{self.name} {self.student}"


@dataclass(frozen=True)
class StageRun:
    """One stage to run, and of what; None for a stage of the project."""

    stage: str
    subject: Subject | None = None

    @property
    def address(self) -> Address:
        """Where DVC has it."""
        return address_of(self.stage, self.subject)

    @property
    def label(self) -> str:
        """As people read it."""
        return label_of(self.stage, self.subject)


def entries(params: Params, kind: Kind) -> Mapping[str, Any]:
    """The section of a kind: its subjects' definitions by name."""
    section: Mapping[str, Any] = getattr(params, kind.section)
    return section


def check(params: Params, subject: Subject) -> None:
    """Raise a ConfigError unless the parameters have this subject."""
    kind, names = subject.row, entries(params, subject.row)
    if subject.name not in names:
        known = f"one of: {', '.join(names)}" if names else f"{kind.definition} under `{kind.section}`, which has none"
        raise ConfigError(
            f"unknown {kind.name} '{subject.name}', expected {known}; add it under `{kind.section}` in params.yaml."
        )


def chosen(params: Params, kind: Kind, names: Sequence[str] = ()) -> tuple[Subject, ...]:
    """The subjects of a kind to work on, in the order of the parameters; every one if none is named, or `all` is.

    Raises:
        ConfigError: there is none, or none of that name.
    """
    known = entries(params, kind)
    if not known:
        raise ConfigError(kind.none_yet)
    named = [n for n in names if n != EVERY]
    for name in named:
        check(params, Subject(kind.name, name))
    every = not names or EVERY in names
    return tuple(Subject(kind.name, name) for name in known if every or name in named)


def named_in(params: Params, subject: Subject) -> tuple[str, ...]:
    """What an entry names under `of`: subjects that it is made of, or folders with modules made elsewhere.

    Nothing where its kind is made of no other.
    """
    if subject.row.made_of is None:
        return ()
    of: str | Sequence[str] = entries(params, subject.row)[subject.name].of
    return (of,) if isinstance(of, str) else tuple(of)


def parts_of(params: Params, subjects: Sequence[Subject]) -> tuple[Subject, ...]:
    """The subjects that others of one kind are made of, in the order of the parameters."""
    kind = subjects[0].row.made_of if subjects else None
    if kind is None:
        return ()
    named = {name for subject in subjects for name in named_in(params, subject)}
    return tuple(Subject(kind, name) for name in entries(params, KINDS[kind]) if name in named)


def runs_of(params: Params, kind: Kind, subjects: Sequence[Subject]) -> list[StageRun]:
    """Every stage of these subjects of one kind, in the order they run; before them those of what they are made of."""
    parts = parts_of(params, subjects)
    runs = runs_of(params, parts[0].row, parts) if parts else []
    runs += [run for stage in kind.first for run in _runs(stage, params, subjects)]
    runs += [run for subject in subjects for stage in kind.then for run in _runs(stage, params, [subject])]
    return list(dict.fromkeys(runs))


def _runs(stage: Stage, params: Params, subjects: Sequence[Subject]) -> list[StageRun]:
    if stage.of == "project":
        return [StageRun(stage.name)]
    if stage.of == "subject":
        return [StageRun(stage.name, subject) for subject in subjects]
    students: tuple[StudentName, ...] = getattr(params, stage.name).students
    return [StageRun(stage.name, subject.of(student)) for subject in subjects for student in students]


def stage_folder(root: Path, stage: str, subject: Subject | None) -> Path:
    """artifacts/<stage>/, artifacts/<subject>/<stage>/, or artifacts/<subject>/students/<student>/."""
    artifacts, of = root / "artifacts", all_stages()[stage].of
    if of == "project":
        return artifacts / stage
    assert subject is not None, f"{stage} is a stage of a subject"
    if of == "subject":
        return artifacts / subject.name / stage
    assert subject.student is not None, f"{stage} is a stage of a student"
    return artifacts / subject.name / "students" / subject.student.folder


def label_of(stage: str, subject: Subject | None) -> str:
    """A stage as people read it: "search [digit-3]"."""
    return stage if subject is None else f"{stage} [{subject}]"


def address_of(stage: str, subject: Subject | None) -> Address:
    """Where DVC has a stage: of the project, in a subject's file, or `transfer@seam-50-0` in it for a student."""
    if subject is None:
        return Address(PIPELINE, stage)
    name = stage if subject.student is None else f"{stage}@{subject.student.key}"
    return Address(str(subject.folder / PIPELINE), name)


def flags(subject: Subject | None) -> list[str]:
    """The subject on the command line of a stage run alone: --target flowers --method seam-50 --seed 0."""
    if subject is None:
        return []
    named, student = [f"--{subject.kind}", subject.name], subject.student
    return named if student is None else [*named, "--method", student.method, "--seed", str(student.seed)]
