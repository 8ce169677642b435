"""`pipelines/<kind>.yaml`: the stages of one kind of subjects, of which each subject gets a copy with its name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from seam.errors import ConfigError
from tasks.project.stages import Kind
from tasks.project.subject import Subject

TEMPLATES = Path("pipelines")
"""Their folder, in the project."""
_NAME, _UP = "${key}", "../.."
"""What stands for the subject's name; the project, seen from the folder of a subject."""
_MARK = re.compile(r"# Written by seam from \S+, which is the one to edit \(([0-9a-f]{16})\)\n")


@dataclass(frozen=True)
class Template:
    """The template of one kind."""

    kind: Kind
    path: Path
    text: str

    @classmethod
    def read(cls, root: Path, kind: Kind) -> Template:
        """That of a project.

        Raises:
            ConfigError: there is none.
        """
        path = root / TEMPLATES / f"{kind.name}.yaml"
        if not path.is_file():
            raise ConfigError(
                f"{path}: expected the stages of {kind.definition}, got no such file; `git checkout {TEMPLATES}`"
                " brings it back."
            )
        return cls(kind, path, path.read_text(encoding="utf-8"))

    def filled(self, subject: Subject) -> str:
        """A subject's copy: a first line that says where it is from, and tells it from an edited one, then the text."""
        text = self.text.replace(_NAME, subject.name)
        name = f"{TEMPLATES}/{self.kind.name}.yaml"
        return f"# Written by seam from {name}, which is the one to edit ({_digest(text)})\n{text}"

    def params_of(self, stage: str, subject: Subject) -> list[str] | None:
        """Names of the parameters that a stage depends on, those of params.yaml; None where there is no such stage."""
        if stage not in self.stages:
            return None
        named = self.stages[stage].get("params", ())
        return [name.replace(_NAME, subject.name) for name in named if isinstance(name, str)]

    @cached_property
    def stages(self) -> Mapping[str, Any]:
        """Every stage of the kind, each run in the project, and maybe further ones.

        Raises:
            ConfigError: it is not YAML, lacks a stage, or has one that runs elsewhere.
        """
        try:
            content = YAML(typ="safe").load(self.text)
        except YAMLError as e:
            raise ConfigError(f"{self.path}: expected YAML, got {' '.join(str(e).split())}") from e
        found = content.get("stages") if isinstance(content, Mapping) else None
        stages = found if isinstance(found, Mapping) else {}
        for name in (*self.kind.of_subjects, *stages):
            stage = stages.get(name, "none")
            if not isinstance(stage, Mapping) or stage.get("wdir") != _UP:
                got = f"wdir: {stage.get('wdir')}" if isinstance(stage, Mapping) else stage
                raise ConfigError(f"{self.path}: expected a stage '{name}' with wdir: {_UP}, got {got}.")
        return stages


def is_marked(text: str) -> bool:
    """Whether a file says that it is a copy of a template."""
    return _MARK.match(text) is not None


def check_unchanged(path: Path, text: str, kind: Kind) -> None:
    """Raise a ConfigError unless a file is a copy as it was written: whatever else it is, it is kept."""
    mark, template = _MARK.match(text), f"{TEMPLATES}/{kind.name}.yaml"
    if mark is None:
        raise ConfigError(
            f"{path}: expected the file that seam writes there, got one of your own; move it, or call the {kind.name}"
            f" otherwise (stages for all belong in {template})."
        )
    if mark[1] != _digest(text[mark.end() :]):
        raise ConfigError(
            f"{path}: expected it as seam wrote it, got it changed by hand, or half merged; put what you need into"
            f" {template}, remove {path} and run again."
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
