"""A fresh clone of the project at a version's commit, with its data and parameters, and stages run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from seam.errors import ProvenanceError
from seam.files import read_json, write_text
from tasks.project.code_digests import digests_path
from tasks.project.environment import NO_TELEMETRY
from tasks.project.params import flat

_NOWHERE = "http://127.0.0.1:9"
"""In place of a tracking store: nothing is to be logged anywhere."""


class Clone:
    """The project as it was, in a folder of its own."""

    def __init__(self, root: Path, commit: str, folder: Path) -> None:
        """Clone the repository of `root` into `folder`, at a commit; the address of its DVC remote goes along.

        Raises:
            ProvenanceError: no repository, or it has no such commit.
        """
        prefix = _run(["git", "rev-parse", "--show-prefix"], root, f"{root}: expected a git repository").strip()
        top = _run(["git", "rev-parse", "--show-toplevel"], root, f"{root}: expected a git repository").strip()
        _run(["git", "clone", "--quiet", "--no-checkout", top, str(folder)], root, f"{top}: cannot be cloned")
        missing = f"{root}: expected commit {commit} in the repository (git fetch, or clone the one it is of)"
        _run(["git", "checkout", "--quiet", "--detach", commit], folder, missing)
        self.root = folder / prefix
        own = root / ".dvc/config.local"
        if own.is_file():
            shutil.copyfile(own, self.root / ".dvc/config.local")

    def differing_params(self, params: Mapping[str, Any]) -> list[str]:
        """Parameters that the commit has otherwise than the version was made with, in words."""
        try:
            committed = flat(YAML(typ="safe").load((self.root / "params.yaml").read_text()))
        except (OSError, YAMLError, AttributeError):
            return []
        then = flat(params)
        return [
            f"parameter {name}: {then[name]} then, {value} in the commit's params.yaml (the former is taken)"
            for name, value in sorted(committed.items())
            if name in then and _plain(then[name]) != _plain(value)
        ]

    def take_params(self, params: Mapping[str, Any]) -> None:
        """Work with these."""
        write_text(self.root / "params.yaml", json.dumps(params, indent=1) + "\n")

    def pull(self, *what: str) -> None:
        """Fetch from the DVC remote.

        Raises:
            ProvenanceError: it is not there.
        """
        command = [sys.executable, "-m", "dvc", "pull", "--quiet", *what]
        _run(command, self.root, f"dvc pull {' '.join(what)}: expected it in the DVC remote", _environment(self.root))

    def digests(self) -> dict[str, str]:
        """Of the code of each stage, as it is at the commit; empty where that code digests none."""
        command = [sys.executable, "-m", "tasks.digest_code"]
        _run(command, self.root, "digest_code", _environment(self.root))
        path = digests_path(self.root)
        found: dict[str, str] = read_json(path)["code"] if path.is_file() else {}
        return found

    def give(self, stage: str, result: Path) -> None:
        """Take a file for what a stage publishes, in place of running it."""
        folder = self.root / "artifacts" / stage
        folder.mkdir(parents=True)
        shutil.copyfile(result, folder / result.name)

    def run(self, stage: str, arguments: Sequence[str] = (), tracking: str | None = None) -> None:
        """Run a stage alone, by the code of the commit.

        Args:
            stage: its name.
            arguments: of its command.
            tracking: MLflow's store, of which it may ask; None: of none.

        Raises:
            ProvenanceError: it fails.
        """
        command = [sys.executable, "-m", f"tasks.{stage}", *arguments]
        _run(
            command,
            self.root,
            f"{stage}: expected it to run at the version's commit",
            _environment(self.root, tracking),
        )


def _environment(root: Path, tracking: str | None = None) -> dict[str, str]:
    """Of a process that works in the clone alone."""
    own = {"PYTHONPATH": str(root), "MLFLOW_TRACKING_URI": tracking or _NOWHERE, "TQDM_DISABLE": "1"}
    return {**os.environ, **NO_TELEMETRY, **own}


def _run(command: Sequence[str], folder: Path, wrong: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ProvenanceError(f"{wrong}, got {said[-1].removeprefix('error: ')[:300] if said else done.returncode}")
    return done.stdout


def _plain(value: Any) -> Any:
    """Lists for tuples, and numbers that YAML 1.2 reads as text."""
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    try:
        return float(value) if isinstance(value, str | int) and not isinstance(value, bool) else value
    except ValueError:
        return value
