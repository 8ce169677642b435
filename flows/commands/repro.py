"""`seam repro`: `dvc repro -P`, after a look at the data, which DVC would silently record anew."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.project.data_guard import check_data_unchanged
from tasks.project.layout import lay_out
from tasks.project.params import load_params
from tasks.project.stopping import end_children


def reproduce(root: Path, arguments: Sequence[str]) -> int:
    """Run `dvc repro` with these arguments, of all pipelines where they name none; returns its exit status.

    Raises:
        DataError: the data is not what was recorded.
        ConfigError: the pipelines cannot be written.
    """
    params = load_params(root / "params.yaml")
    lay_out(root, params)
    for data in (params.data, *params.targets.values()):
        if (root / data.path).exists():  # a fresh clone: `dvc repro --pull` brings the data
            check_data_unchanged(root, data.path)
    environment = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [sys.executable, "-m", "dvc", "repro", *_every(arguments), *arguments]
    with subprocess.Popen(command, cwd=root, env=environment) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            end_children()  # the stage that DVC has started would go on
            raise


def _every(arguments: Sequence[str]) -> list[str]:
    """`-P`, unless stages, a folder or a file are named: without it DVC takes the root's dvc.yaml alone."""
    named = any(not a.startswith("-") for a in arguments) or {"-P", "--all-pipelines", "-h", "--help"} & set(arguments)
    return [] if named else ["-P"]
