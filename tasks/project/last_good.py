"""The last good result of a stage that failed: `dvc repro` removes it before it runs the stage."""

from __future__ import annotations

import logging
from pathlib import Path

from tasks.project.subject import StageRun

logger = logging.getLogger(__name__)


def bring_back(root: Path, run: StageRun) -> None:
    """Have the outputs of a stage as its dvc.lock records them, where they are gone and DVC's cache has them."""
    address = run.address
    if not (root / ".dvc").is_dir() or not (root / address.lock).is_file():
        return
    from dvc.exceptions import DvcException  # here: DVC takes a second to import, and nothing but failures needs it
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            for out in repo.stage.load_one(str(root / address.file), address.name).outs:
                if out.hash_info and not out.exists and not out.changed_cache():
                    out.checkout(force=True)  # not of the stage: its files are reserved for the DVC that runs it
    except (DvcException, OSError):
        logger.debug("%s: the last good result is not brought back", run.label, exc_info=True)
