"""What locks have recorded under names of before: moved, and brought to what a template says now."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from seam.errors import CacheError, ConfigError
from tasks.project.lock_text import check_merged, narrowed, renamed, split
from tasks.project.pipeline_template import Template
from tasks.project.stages import KINDS, all_stages, kind_of
from tasks.project.students import StudentName, parse_method
from tasks.project.subject import Subject, address_of

Sections = dict[str, str]
"""Of a lock: the text of each stage by its name."""


def sections_of(path: Path) -> Sections:
    """Of a lock that is to be changed; none where there is no such file.

    Raises:
        CacheError: it is half merged, or not as DVC writes it.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    check_merged(path, text)
    sections = split(text)
    if sections is None:
        raise CacheError(
            f"{path}: expected it as DVC writes it, got something else; `git checkout {path}` brings it back, or remove"
            " it: results come back from DVC's cache."
        )
    return sections


def moved(path: Path, subjects: Sequence[Subject]) -> tuple[Sections | None, dict[Subject, Sections]]:
    """What the lock of a project records of subjects (`search@digit-3`), as of before they had locks of their own.

    Returns:
        Its sections without those, None where there are none; and those, by subject, as they are called now.
    """
    names = "|".join(stage for kind in KINDS.values() for stage in kind.of_subjects)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not re.search(rf"(?m)^  ['\"]?({names})@", text):
        return None, {}
    left, found = Sections(), dict[Subject, Sections]()
    for name, section in sections_of(path).items():
        stage, at, key = name.partition("@")
        if not at or kind_of(stage) is None:
            left[name] = section
            continue
        owner = next((one for subject in subjects if (one := _owner(stage, key, subject))), None)
        if owner is not None:  # or it is gone
            now = address_of(stage, owner).name
            found.setdefault(owner.whole, {})[now] = renamed(section, now)
    return left, found


def fitted(template: Template, subject: Subject, sections: Mapping[str, str]) -> Sections:
    """What a subject's lock records, without stages that its template does not have.

    Where that names single parameters of a section now, these alone: their values are what they were.
    """
    found = Sections()
    for name, section in sections.items():
        params = template.params_of(name.partition("@")[0], subject)
        if params is not None:
            found[name] = narrowed(section, params)
    return found


def _owner(stage: str, key: str, subject: Subject) -> Subject | None:
    """The subject, or a student of it, if one stage of it was called by this key."""
    if kind_of(stage) is not subject.row:
        return None
    if all_stages()[stage].of != "student":
        return subject if key == subject.name else None
    method, _, seed = key.removeprefix(f"{subject.name}-").rpartition("-")
    try:
        parse_method(method)
    except ConfigError:
        return None
    known = key.startswith(f"{subject.name}-") and seed.isdigit()
    return subject.of(StudentName(method, int(seed))) if known else None
