"""What the machine does not let a stage write, in words."""

from __future__ import annotations

import errno
import shutil
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


def why_not(error: OSError) -> str | None:
    """Why the machine did not let something be written or read; None: it is something else."""
    if "No space left" in str(error):
        return _WHY[errno.ENOSPC]
    return _WHY.get(error.errno or 0)


def refusal(error: OSError, what: str, root: Path) -> str | None:
    """One line on a stage that the machine stopped, and what to do; None: it was something else."""
    why = why_not(error)
    if why is None:
        return None
    where = error.filename or "its outputs"
    if why == _WHY[errno.ENOSPC]:
        free = shutil.disk_usage(root).free
        return (
            f"{what}: {why} ({free / 2**20:.0f} MiB free under {root}) while writing {where}; free some space and run"
            " again, finished stages are kept."
        )
    return f"{what}: {where} cannot be read or written: {why}; mend that and run again, finished stages are kept."
