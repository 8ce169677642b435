"""What the machine does not let be written, in words."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from pathlib import Path

_WHY = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "no file may be so large here (ulimit -f, or the file system)",
    errno.EROFS: "it is read-only",
    errno.EACCES: "this account may not",
    errno.EPERM: "this account may not",
    errno.EIO: "the disk failed",
}


_WHY_NO_DATABASE = {
    "SQLITE_FULL": _WHY[errno.ENOSPC],
    "SQLITE_READONLY": _WHY[errno.EROFS],
    "SQLITE_CANTOPEN": "a database there cannot be opened or made",
    "SQLITE_IOERR": "a database there cannot be written (the disk is full or failed, or no file may be so large)",
}
"""By the beginning of SQLite's name for it."""
FAULTS = (OSError, sqlite3.Error)
"""What is raised where the machine is at fault, among others."""


def why_not(error: BaseException) -> str | None:
    """Why the machine did not let something be written or read; None: it is something else."""
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        return next((why for begin, why in _WHY_NO_DATABASE.items() if name.startswith(begin)), None)
    if not isinstance(error, OSError):
        return None
    if "No space left" in str(error):
        return _WHY[errno.ENOSPC]
    return _WHY.get(error.errno or 0)


def refusal(error: BaseException, what: str, root: Path) -> str | None:
    """One line on what the machine stopped, and what to do; None: it was something else.

    Args:
        error: as it was raised.
        what: was stopped, a stage or a command.
        root: the project.
    """
    why = why_not(error)
    if why is None:
        return None
    where = getattr(error, "filename", None) or "its outputs"
    if why == _WHY[errno.ENOSPC]:
        free = shutil.disk_usage(root).free
        return (
            f"{what}: {why} ({free / 2**20:.0f} MiB free under {root}) while writing {where}; free some space and run"
            " again, finished stages are kept."
        )
    return f"{what}: {where} cannot be read or written: {why}; mend that and run again, finished stages are kept."
