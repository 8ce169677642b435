"""One at a time on this machine, whoever runs it and in whatever clone: what takes times, and what fills a GPU.

A file that the kernel locks: it is free again as soon as its holder ends, however that ends. Limits
of Prefect are per server, and ask it; these hold for a flow, a `seam run` by hand and `dvc repro`.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FOLDER = "SEAM_LOCKS"
"""Environment variable: another folder of lock files, as for containers of one machine, which share no /tmp."""
TIMES = "times"
"""Name of the lock of what takes times."""
WAITS = "waits: something else takes times on this machine"
_POLL_SECONDS = 0.5


@contextmanager
def alone(names: Sequence[str], on_wait: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold the first lock of `names` that is free; its index.

    Args:
        names: of locks, any of which will do.
        on_wait: called now and then while all are held by others.
    """
    held, number = _take(names), None
    while held is None:
        on_wait()
        time.sleep(_POLL_SECONDS)
        held = _take(names)
    descriptor, number = held
    try:
        yield number
    finally:
        os.close(descriptor)


def _take(names: Sequence[str]) -> tuple[int, int] | None:
    """Lock the first that is free: its descriptor and index."""
    for number, name in enumerate(names):
        descriptor = _opened(_folder() / f"seam-{name}.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return descriptor, number
    return None


def _folder() -> Path:
    """The same for all processes of the machine: not TMPDIR, which a scheduler sets for each of its jobs."""
    shared = Path("/tmp")
    folder = Path(os.environ.get(FOLDER) or (shared if shared.is_dir() else tempfile.gettempdir()))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _opened(path: Path) -> int:
    """A lock file that every user can lock, whoever made it."""
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
        os.fchmod(descriptor, 0o644)  # whatever the umask
        return descriptor
