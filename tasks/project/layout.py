"""A pipeline file a subject: `problems/NAME/dvc.yaml`, written from `pipelines/problem.yaml`, its dvc.lock beside it.

DVC reads and writes a lock as a whole, so that one for all problems costs the more the more there
are, and two machines that work on two problems change the same file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seam.errors import ConfigError
from seam.files import drop_unwritten, write_text
from tasks.project.lock_moves import fitted, moved, sections_of
from tasks.project.lock_text import write_sections
from tasks.project.params import Params
from tasks.project.pipeline_template import TEMPLATES, Template, check_unchanged, is_marked
from tasks.project.stages import KINDS, Kind, kind_of
from tasks.project.subject import LOCK, PIPELINE, Subject, entries


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
    kinds = [kind for kind in KINDS.values() if entries(params, kind)]
    subjects = [Subject(kind.name, name) for kind in kinds for name in entries(params, kind)]
    _check_data(root, params, subjects)
    _check_project(root)
    try:
        templates = {kind.name: Template.read(root, kind) for kind in kinds}
        files = {s: text for s in subjects if (text := _new_file(root, templates[s.kind], s))}
        left, from_project = moved(root / LOCK, subjects)
        locks = _new_locks(root, templates, (*files, *from_project), from_project)
        gone = [folder for kind in KINDS.values() for folder in _gone(root, params, kind)]
        for folder in (root, *root.glob("artifacts/*"), *(root / subject.folder for subject in subjects)):
            drop_unwritten(folder)
        for subject, sections in locks.items():
            write_sections(root / subject.folder / LOCK, sections)
        if left is not None:
            write_sections(root / LOCK, left)
        for subject, text in files.items():
            write_text(root / subject.folder / PIPELINE, text)
        for folder in gone:
            _remove(root / folder)
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as e:
        where = Path(e.filename).relative_to(root)
        raise ConfigError(f"{where}: expected the place of a subject's {PIPELINE}, got another file; move it.") from e
    return Laid(tuple(files), tuple(map(str, gone)), sum(map(len, from_project.values())))


def _new_file(root: Path, template: Template, subject: Subject) -> str | None:
    """A subject's pipeline file, if it has none, or that of another template."""
    text, written = template.filled(subject), _read(root / subject.folder / PIPELINE)
    if written == text:
        return None
    if written is not None:
        check_unchanged(subject.folder / PIPELINE, written, subject.row)
    return text if template.stages else None


def _new_locks(
    root: Path,
    templates: Mapping[str, Template],
    subjects: Iterable[Subject],
    from_project: Mapping[Subject, Mapping[str, str]],
) -> dict[Subject, dict[str, str]]:
    """The locks that become other ones: by what moves there, or where a template has changed."""
    found = {}
    for subject in subjects:
        recorded = sections_of(root / subject.folder / LOCK)
        sections = fitted(templates[subject.kind], subject, {**from_project.get(subject, {}), **recorded})
        if sections != recorded:
            found[subject] = sections
    return found


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


def _gone(root: Path, params: Params, kind: Kind) -> Iterator[Path]:
    """Folders of subjects that the parameters do not have any more; those with files of others are none."""
    section = root / kind.section
    for file in sorted(section.glob(f"*/{PIPELINE}")) if section.is_dir() else ():
        text = "" if file.parent.name in entries(params, kind) else _read(file) or ""
        if is_marked(text):
            check_unchanged(file.relative_to(root), text, kind)
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
