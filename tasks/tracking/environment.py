"""What a result was made with: versions, hardware, commit, the data's DVC record."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from seam import __version__
from seam.hardware import describe

_PACKAGES = (
    *("torch", "torchvision", "numpy", "mlflow", "prefect", "dvc", "great-expectations", "fvcore", "advertorch"),
    *("onnx", "onnxruntime", "openvino", "nncf", "deepsparse"),
)


def data_dvc(root: Path) -> dict[str, str]:
    """The md5 that `data.dvc` records for the raw data, where there is one."""
    path = root / "data.dvc"
    if not path.is_file():
        return {}
    outs = YAML(typ="safe").load(path.read_text()).get("outs", [])
    return {"data_dvc_md5": str(outs[0]["md5"])} if outs and "md5" in outs[0] else {}


def made_with(root: Path) -> dict[str, Any]:
    """For a card: the commit checked out, versions, hardware."""
    return {"git_commit": git_commit(root), "versions": versions(), "hardware": hardware()}


def git_commit(root: Path) -> str | None:
    """The commit checked out, None outside version control."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Of Python, seam and what the numbers depend on; absent packages are left out."""
    found = {"python": platform.python_version(), "seam": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Of this machine."""
    return {**describe(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1)}
