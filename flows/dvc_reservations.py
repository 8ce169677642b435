"""DVC's read and write locks on files, whose list it writes in place: one that a killed process left half is mended."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.lock import make_lock
from dvc.repo import lock_repo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA, rwlock
from voluptuous import Invalid

logger = logging.getLogger(__name__)


@contextmanager
def repo_lock(repo: Any) -> Iterator[None]:
    """DVC's own lock on a project, in which it may reserve files for stages that it runs itself."""
    with lock_repo(repo):
        drop_half_written(Path(repo.tmp_dir))
        yield


@contextmanager
def reservation(repo: Any, command: str, reads: Sequence[str], writes: Sequence[str]) -> Iterator[None]:
    """Reserve files in the block; DVC itself releases those of a process that was killed."""
    drop_half_written(Path(repo.tmp_dir))
    with rwlock(repo.tmp_dir, repo.fs, command, reads, writes, False):
        yield


def drop_half_written(folder: Path) -> None:
    """Remove a list of reservations that was not written whole: nobody could reserve anything any more.

    Args:
        folder: `.dvc/tmp`.

    Raises:
        LockError: somebody else does not let go of the list.
    """
    path = folder / RWLOCK_FILE
    if _is_whole(path):
        return
    with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder), hardlink_lock=False):
        if not _is_whole(path):  # it may have been in the middle of being written
            logger.warning("%s: left half-written by a process that was killed, and removed", path)
            path.unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    try:
        SCHEMA(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return True
    except (ValueError, Invalid):
        return False
    return True
