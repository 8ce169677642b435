"""Is the data on disk the data that DVC recorded? Asked before anything else.

`dvc repro` would silently record changed data.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from seam.errors import DataError
from seam.files import sha256_file

logger = logging.getLogger(__name__)

MOST_NAMED = 5
"""Changed files named in a message; the others are counted."""


def check_data_unchanged(root: Path, data_path: str = "data") -> None:
    """Raise unless `data_path` is what its .dvc file says; nothing is written.

    Args:
        root: the project's folder, a DVC repository.
        data_path: file or folder that will be read, relative to `root`; one that no .dvc file
            tracks is not checked.

    Raises:
        DataError: it is missing, or a file in it was changed, added or removed.
    """
    record = _tracking_file(root, data_path)
    if record is None:
        return
    from dvc.exceptions import DvcException  # here: DVC takes a second to import, and untracked data needs none of it
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            output = repo.stage.load_one(str(record)).outs[0]
            state = next(iter(output.workspace_status().values()), "unchanged")
            changes = _changes(repo, output, record.with_suffix("")) if state == "modified" else []
    except DvcException as e:
        raise DataError(
            f"{record}: cannot be compared with the data ({' '.join(str(e).split())}); restore it with `git checkout"
            f" {record.name}`."
        ) from e
    name = record.relative_to(root)
    if state == "deleted":
        raise DataError(
            f"{name.with_suffix('')}: missing, expected the data recorded in {name}; get it with `dvc pull`."
        )
    if state != "unchanged":
        shown = ", ".join(changes[:MOST_NAMED]) + (
            f" and {len(changes) - MOST_NAMED} more" if len(changes) > MOST_NAMED else ""
        )
        raise DataError(
            f"{shown or name.with_suffix('')}: not the data recorded in {name};"
            f" `dvc checkout --force {name}` restores it, `dvc add {name.with_suffix('')}` accepts the change."
        )


def digest_of_data(path: Path) -> str:
    """SHA-256 of a file's bytes; of a folder, of the names and sizes of all files in it."""
    if not path.is_dir():
        return sha256_file(path)
    found = sorted((str(f.relative_to(path)), f.stat().st_size) for f in path.rglob("*") if f.is_file())
    return hashlib.sha256("\n".join(f"{size} {name}" for name, size in found).encode()).hexdigest()


def _tracking_file(root: Path, data_path: str) -> Path | None:
    """The .dvc file of `data_path` or of the closest folder around it, inside `root`."""
    absolute = root.resolve()
    path = (absolute / data_path).resolve()
    for tracked in (path, *path.parents):
        if not tracked.is_relative_to(absolute) or tracked == absolute:
            return None
        record = root / tracked.relative_to(absolute).with_name(f"{tracked.name}.dvc")
        if record.is_file():
            return record
    return None


def _changes(repo: Any, output: Any, tracked: Path) -> list[str]:
    """Like "data/a.png (changed)"; empty when a single file is tracked or the recorded list is not in the cache."""
    from dvc_data.hashfile.build import build

    recorded = output.get_obj()
    if not tracked.is_dir() or recorded is None or not output.hash_info.isdir:
        return []
    found: Any = build(repo.cache.local, str(output.fs_path), output.fs, "md5", dry_run=True)[2]
    old = {"/".join(key): hash_info for key, _, hash_info in recorded}
    new = {"/".join(key): hash_info for key, _, hash_info in found}
    kinds = {
        name: "removed" if name not in new else "added" if name not in old else "changed"
        for name in {*old, *new}
        if old.get(name) != new.get(name)
    }
    return [f"{tracked.name}/{name} ({kinds[name]})" for name in sorted(kinds)]
