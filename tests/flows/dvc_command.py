"""DVC as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def dvc(root: Path, *arguments: str, **environment: str) -> str:
    """What `dvc` prints in a project; it must succeed.

    Args:
        root: the project.
        arguments: of the command.
        environment: further variables.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
