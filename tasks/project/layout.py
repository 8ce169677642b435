"""A pipeline file a subject: `problems/NAME/dvc.yaml`, written from `pipelines/problem.yaml`, its dvc.lock beside it.

DVC reads and writes a lock as a whole, so that one for all problems costs the more the more there
are, and two machines that work on two problems change the same file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from seam.errors import CacheError, ConfigError
from seam.files import write_text
from tasks.project.lock_text import check_merged, renamed, split, write_sections
from tasks.project.params import Params
from tasks.project.stages import KINDS, Kind, all_stages, kind_of
from tasks.project.students import StudentName, parse_method
from tasks.project.subject import LOCK, PIPELINE, Subject, address_of, entries

TEMPLATES = Path("pipelines")
"""Folder with a template a kind of subjects, in the project."""
_NAME, _UP = "${key}", "../.."
"""What stands for the subject's name in a template; the project, seen from the folder of a subject."""
_MARK = re.compile(r"# Written by seam from \S+, which is the one to edit \(([0-9a-f]{16})\)\n")


@dataclass(frozen=True)
class Laid:
    """What laying out changed; false where nothing."""

    written: tuple[Subject, ...] = ()
    """New, or defined otherwise."""
    removed: tuple[str, ...] = ()
    """Folders of subjects that are gone."""
    moved: int = 0
    """Stages that the project's dvc.lock recorded, as before there was a lock a subject."""

    def __bool__(self) -> bool:
        return bool(self.written or self.removed or self.moved)

    def __str__(self) -> str:
        parts = []
        if self.written:
            parts.append(f"{_listed([str(s.folder / PIPELINE) for s in self.written])} written")
        if self.removed:
            parts.append(f"{_listed(self.removed)} removed, gone from params.yaml")
        if self.moved:
            parts.append(f"{self.moved} stages moved from {LOCK} to locks of their own")
        return "; ".join(parts) or "nothing changed"


def lay_out(root: Path, params: Params) -> Laid:
    """Have the pipeline file of every subject as the parameters and templates say, and of no others.

    What an older project recorded in its one dvc.lock moves to the locks of the subjects, so that
    nothing is computed again. All is checked before anything is written, and only files that were
    written here are changed or removed.

    Raises:
        ConfigError: a template that is none, a file in the way, or a subject's folder within data.
        CacheError: a lock that is half merged, or not as DVC writes it.
    """
    subjects = [Subject(kind.name, name) for kind in KINDS.values() for name in entries(params, kind)]
    _check_data(root, params, subjects)
    _check_project(root)
    try:
        files = {subject: text for kind in KINDS.values() for subject, text in _files(root, params, kind).items()}
        locks = _pruned(root, files)
        left, moved = _moved(root, subjects)
        for subject, sections in moved.items():
            locks[subject] = {**sections, **_sections(root / subject.folder / LOCK)}
        gone = [folder for kind in KINDS.values() for folder in _gone(root, params, kind)]
        for subject, sections in locks.items():
            write_sections(root / subject.folder / LOCK, sections)
        if moved or left is not None:
            write_sections(root / LOCK, left or {})
        for subject, text in files.items():
            write_text(root / subject.folder / PIPELINE, text)
        for folder in gone:
            _remove(root / folder)
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as e:
        where = Path(e.filename).relative_to(root)
        raise ConfigError(f"{where}: expected the place of a subject's {PIPELINE}, got another file; move it.") from e
    return Laid(tuple(files), tuple(map(str, gone)), sum(map(len, moved.values())))


def _files(root: Path, params: Params, kind: Kind) -> dict[Subject, str]:
    """The pipeline files to write: of subjects that have none, or another one."""
    subjects = [Subject(kind.name, name) for name in entries(params, kind)]
    if not subjects:
        return {}
    path = root / TEMPLATES / f"{kind.name}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"{path}: expected the stages of {kind.definition}, got no such file; `git checkout {TEMPLATES}` brings it"
            " back."
        )
    template, found = path.read_text(encoding="utf-8"), {}
    for subject in subjects:
        text = _filled(template, subject)
        written = _read(root / subject.folder / PIPELINE)
        if written != text:
            if written is not None:
                _check_ours(subject.folder / PIPELINE, written, path.relative_to(root))
            found[subject] = text
    if found:
        _check_template(path, template, kind)
    return found


def _filled(template: str, subject: Subject) -> str:
    """The pipeline file of a subject: a first line that says what it is, then the template with its name."""
    text = template.replace(_NAME, subject.name)
    return f"# Written by seam from {TEMPLATES}/{subject.kind}.yaml, which is the one to edit ({_digest(text)})\n{text}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_marked(text: str) -> bool:
    """Whether a file says that it was written here."""
    return _MARK.match(text) is not None


def _check_ours(path: Path, text: str, template: Path) -> None:
    """Raise unless a pipeline file is as it was written here: whatever else it is, it is kept."""
    mark = _MARK.match(text)
    if mark is None:
        raise ConfigError(
            f"{path}: expected the file that seam writes there, got one of your own; move it, or call the subject"
            f" otherwise (stages for all belong in {template})."
        )
    if mark[1] != _digest(text[mark.end() :]):
        raise ConfigError(
            f"{path}: expected it as seam wrote it, got it changed by hand, or half merged; put what you need into"
            f" {template}, remove {path} and run again."
        )


def _check_template(path: Path, text: str, kind: Kind) -> None:
    """Raise unless a template has every stage of its kind, each run in the project."""
    try:
        content = YAML(typ="safe").load(text)
    except YAMLError as e:
        raise ConfigError(f"{path}: expected YAML, got {' '.join(str(e).split())}") from e
    stages = content.get("stages") if isinstance(content, Mapping) else None
    for name in kind.of_subjects:
        stage = stages.get(name) if isinstance(stages, Mapping) else None
        if not isinstance(stage, Mapping) or stage.get("wdir") != _UP:
            got = (
                "none" if stage is None else f"wdir: {stage.get('wdir')}" if isinstance(stage, Mapping) else "no stage"
            )
            raise ConfigError(f"{path}: expected a stage '{name}' with wdir: {_UP}, got {got}.")


def _check_project(root: Path) -> None:
    """Raise where the project's own pipeline file has stages that are each subject's now: an edited one of old."""
    names = "|".join(stage for kind in KINDS.values() for stage in kind.of_subjects)
    found = re.search(rf"(?m)^  ({names}):", _read(root / PIPELINE) or "")
    kind = kind_of(found[1]) if found else None
    if found and kind:
        raise ConfigError(
            f"{root / PIPELINE}: expected the stages of the project, got '{found[1]}', which is in"
            f" {TEMPLATES}/{kind.name}.yaml now; take it out, and what you changed about it into that."
        )


def _check_data(root: Path, params: Params, subjects: Sequence[Subject]) -> None:
    """Raise where a subject's files would be written into data, which would be other data then."""
    images = {"data": params.data} | dict(subject.data(params) for subject in subjects)
    places = {Path(os.path.normpath(root / config.path)): section for section, config in images.items()}
    for subject in subjects:
        folder = root / subject.folder
        within = next((f for f in (folder, *folder.parents) if f in places), None)
        if within is not None:
            raise ConfigError(
                f"{places[within]}.path: expected data apart from {subject.folder}/, where the pipeline of"
                f" '{subject.name}' is written, got {within}; move the data and change the path."
            )


def _pruned(root: Path, files: Mapping[Subject, str]) -> dict[Subject, dict[str, str]]:
    """Locks that record stages which their pipeline file, to be written, does not have, without those."""
    found = {}
    for subject, text in files.items():
        path = root / subject.folder / LOCK
        sections = _sections(path) if path.is_file() else {}
        kept = {name: s for name, s in sections.items() if f"\n  {name.partition('@')[0]}:" in text}
        if len(kept) < len(sections):
            found[subject] = kept
    return found


def _moved(root: Path, subjects: Sequence[Subject]) -> tuple[dict[str, str] | None, dict[Subject, dict[str, str]]]:
    """What the project's lock records of subjects (`search@digit-3`), as of before they had locks of their own.

    Returns:
        Its sections without those, None where there are none; and those, by subject, as they are called now.
    """
    names = "|".join(stage for kind in KINDS.values() for stage in kind.of_subjects)
    if not re.search(rf"(?m)^  ['\"]?({names})@", _read(root / LOCK) or ""):
        return None, {}
    left, moved = {}, dict[Subject, dict[str, str]]()
    for name, section in _sections(root / LOCK).items():
        stage, at, key = name.partition("@")
        if not at or kind_of(stage) is None:
            left[name] = section
            continue
        owner = next((found for s in subjects if (found := _owner(stage, key, s))), None)
        if owner is not None:  # or it is gone
            named = address_of(stage, owner).name
            moved.setdefault(owner.whole, {})[named] = renamed(section, named)
    return left, moved


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


def _sections(path: Path) -> dict[str, str]:
    """Of a lock that is to be changed.

    Raises:
        CacheError: it is half merged, or not as DVC writes it.
    """
    text = _read(path) or ""
    check_merged(path, text)
    sections = split(text)
    if sections is None:
        raise CacheError(
            f"{path}: expected it as DVC writes it, got something else; `git checkout {path}` brings it back, or remove"
            " it: results come back from DVC's cache."
        )
    return sections


def _gone(root: Path, params: Params, kind: Kind) -> Iterator[Path]:
    """Folders of subjects that the parameters do not have any more; those with files of others are none."""
    section = root / kind.section
    for file in sorted(section.glob(f"*/{PIPELINE}")) if section.is_dir() else ():
        text = "" if file.parent.name in entries(params, kind) else _read(file) or ""
        if _is_marked(text):
            _check_ours(file.relative_to(root), text, TEMPLATES / f"{kind.name}.yaml")
            yield file.parent.relative_to(root)


def _remove(folder: Path) -> None:
    """What was written here; the pipeline file last, by which it is known."""
    for name in (LOCK, PIPELINE):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder, folder.parent):
        if not any(empty.iterdir()):
            empty.rmdir()


def _read(path: Path) -> str | None:
    """None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
