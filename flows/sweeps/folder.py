"""The working folder of a worker: a clone of the project, or a copy of its code, made here and kept up to date."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from seam.errors import ConfigError
from seam.files import write_text
from tasks.project.params import load_params

_COPIED = ".seam/copied.txt"
"""In a copy: the files that were copied, so that one that is gone can be removed."""
_NOT_COPIED = ("artifacts", "sweeps", "data")
"""Folders of results and of data; data is linked to."""


def make_copy(project: Path, folder: Path) -> Path:
    """A working folder on this machine with the project's code as it is now, and its DVC cache in common with it.

    What the folder computed before stays. Data is linked to, not copied.

    Args:
        project: with params.yaml and dvc.yaml.
        folder: that was made by this function, or is not there.

    Returns:
        The folder.

    Raises:
        ConfigError: there is something else in it.
    """
    folder = folder.absolute()
    listed = folder / _COPIED
    if folder.exists() and any(folder.iterdir()) and not listed.is_file():
        raise ConfigError(
            f"{folder}: expected no folder, or one that seam made for a worker, got another; name another."
        )
    files = sorted(_code_of(project))
    gone = set(listed.read_text().splitlines()) - set(files) if listed.is_file() else set()
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    for name in files:
        source, target = project / name, folder / name
        if not (target.is_file() and filecmp.cmp(source, target, shallow=True)):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    write_text(listed, "\n".join(files) + "\n")
    _join_cache(project, folder)
    _link_data(project, folder)
    return folder


def _code_of(project: Path) -> Iterable[str]:
    """What git would keep of the project, without results and data; everything but hidden folders without git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    names = (
        found.stdout.split("\0")
        if found.returncode == 0
        else [
            str(path.relative_to(project))
            for path in project.rglob("*")
            if not path.relative_to(project).parts[0].startswith(".")
        ]
    )
    for name in dict.fromkeys(filter(None, names)):
        first = Path(name).parts[0]
        path = project / name
        if first in _NOT_COPIED or "__pycache__" in name or path.is_symlink() or not path.is_file():
            continue
        yield name


def _join_cache(project: Path, folder: Path) -> None:
    """The copy is no git repository, and what one worker computes the others and the project have too."""
    from dvc.repo import Repo

    (folder / ".dvc").mkdir(exist_ok=True)
    with Repo(str(project)) as repo:
        cache = repo.cache.local.path if repo.cache.local else str(project / ".dvc" / "cache" / "files" / "md5")
    root = Path(cache).parents[1] if Path(cache).name == "md5" else Path(cache)
    write_text(folder / ".dvc" / "config.local", f"[core]\n    no_scm = true\n[cache]\n    dir = {root}\n")
    if not (folder / ".dvc" / "config").is_file():
        shutil.copy2(project / ".dvc" / "config", folder / ".dvc" / "config")


def _link_data(project: Path, folder: Path) -> None:
    """Data that lies in the project is found under the same path."""
    params = load_params(project / "params.yaml")
    for data in (params.data, *params.targets.values()):
        path = Path(data.path)
        target = folder / path
        if path.is_absolute() or target.exists() or not (project / path).exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink():
            target.unlink()
        os.symlink(project / path, target)  # noqa: PTH211
