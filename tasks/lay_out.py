"""Write the pipeline file of each subject of params.yaml, for DVC.

`python -m tasks.lay_out`. DVC has read its files before it runs a stage: where one is new or other,
this ends with status 1 and says that the command has to be given again.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from seam.errors import SeamError
from tasks.project import layout
from tasks.project.params import load_params
from tasks.project.stage import log_to_terminal

logger = logging.getLogger(__name__)


def lay_out(root: Path) -> None:
    """Write what is missing or differs.

    Raises:
        SystemExit: DVC has read files that were written or removed now, or they cannot be written.
    """
    try:
        laid = layout.lay_out(root, load_params(root / "params.yaml"))
    except SeamError as e:
        sys.exit(f"error: {e}")
    if laid:
        sys.exit(f"lay_out: {laid}. DVC has read its files before: run the same command again.")
    logger.info("lay_out done: every subject has its pipeline")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tasks.lay_out", description=__doc__).parse_args()
    log_to_terminal()
    lay_out(Path.cwd())
