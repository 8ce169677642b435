"""The user's own Python files that sources are built by: code of the stages that read a source, wherever it lies.

DVC compares the files of this project's packages. In a hidden folder among them are links to the
user's files, which it follows, so that `dvc repro` notices their edits as it notices ours.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from seam.errors import SeamError
from seam.files import sha256_file
from seam.networks.own_imports import own_code
from tasks.project.params import load_params
from tasks.project.source_changes import own_sources
from tasks.project.stages import KINDS
from tasks.project.subject import entries

LINKS = Path("tasks") / ".own"
"""Where the links are, in the project."""


class OwnFiles:
    """The user's Python files of one project, looked up again when the parameters or one of them have changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, list[Path]] = {}
        self._known_for: object = None

    def by_stage(self) -> Mapping[str, list[Path]]:
        """Stage that reads a source -> the files, absolute; without those whose architecture is no file."""
        state = self._state()
        if state != self._known_for:
            self._known = _by_stage(self._root)
            self._known_for = self._state()
        return self._known

    def _state(self) -> object:
        files = {self._root / "params.yaml", *(file for files in self._known.values() for file in files)}
        return [(str(f), s.st_mtime_ns, s.st_size) for f in sorted(files) if f.is_file() for s in [f.stat()]]


def digest_with(digest: str, files: Iterable[Path]) -> str:
    """The digest of a stage's code with the user's files: 16 hex digits; itself where there are none."""
    known = sorted((file.name, sha256_file(file)) for file in files if file.is_file())
    if not known:
        return digest
    return hashlib.sha256("\n".join((digest, *map(" ".join, known))).encode()).hexdigest()[:16]


def link_files(root: Path, files: Iterable[Path]) -> None:
    """Have links to these files, and to no others, for DVC to follow; a project that cannot be written to has none."""
    folder = root / LINKS
    packages = (root / "seam", root / "tasks")
    wanted = {_name(f): f for f in files if not any(f.is_relative_to(p.absolute()) for p in packages)}
    present = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set[str]()
    try:
        for name in present - wanted.keys():
            (folder / name).unlink()
        for name in wanted.keys() - present:
            folder.mkdir(exist_ok=True)
            (folder / name).symlink_to(wanted[name])
        if present and not wanted:
            folder.rmdir()
    except OSError:
        return


def _by_stage(root: Path) -> dict[str, list[Path]]:
    try:
        params = load_params(root / "params.yaml")
    except SeamError:
        return {}  # whoever uses them says what is wrong
    found: dict[str, list[Path]] = {}
    for kind in KINDS.values():
        own = [(kind.source, getattr(params, kind.source_section).architecture)]
        changes = [changed for entry in entries(params, kind).values() for _, changed in own_sources(entry)]
        own += [(kind.reports, changed["architecture"]) for changed in changes if "architecture" in changed]
        for stage, architecture in own:
            file, is_python, _ = architecture.rpartition(".py:")
            if is_python and (root / f"{file}.py").is_file():
                known = found.setdefault(stage, [])
                known += [f for f in own_code(root / f"{file}.py").files if f not in known]
    return found


def _name(file: Path) -> str:
    return f"{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{file.name}"
