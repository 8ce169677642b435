"""Where the project is, and its folder for logs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from seam.errors import ConfigError

_MARKS = ("params.yaml", "dvc.yaml")


def package_root() -> Path:
    """The folder this package was installed from."""
    return Path(__file__).resolve().parent.parent


def find_root(start: Path | None = None) -> Path | None:
    """The nearest folder at or above `start` (default: the working directory) with params.yaml and dvc.yaml."""
    folder = (start or Path.cwd()).resolve()
    return next((f for f in (folder, *folder.parents) if all((f / mark).is_file() for mark in _MARKS)), None)


def project_root() -> Path:
    """The project around the working directory.

    Raises:
        ConfigError: there is none.
    """
    root = find_root()
    if root is None:
        raise ConfigError(
            f"{Path.cwd()}: expected a seam project (a folder with {' and '.join(_MARKS)}), found none here or above;"
            " change into your clone of the project and run again."
        )
    return root


def state_folder(root: Path) -> Path:
    """`.seam/`: logs of hand-started runs; made if needed, ignored by git."""
    folder = root / ".seam"
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return folder


def log_to_file(root: Path) -> Path:
    """Send every log record of this process, and Python warnings, to `.seam/seam.log`; the terminal stays clean."""
    path = state_folder(root) / "seam.log"
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)-7s %(name)s: %(message)s"))
    top = logging.getLogger()
    top.addHandler(handler)
    top.setLevel(os.environ.get("SEAM_LOG_LEVEL", "INFO"))
    logging.captureWarnings(True)
    logging.getLogger("great_expectations").setLevel("WARNING")  # it lists every function it registers
    return path
