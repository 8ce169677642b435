"""Digest the code that each stage uses, for DVC: a stage is stale when its own digest changes.

`python -m tasks.digest_code`; with the names of stages it lists their files instead.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from tasks.project.code_digests import read_code, write_digests
from tasks.project.stages import STAGES, TRANSFER_STAGES
from tasks.project.stage import log_to_terminal

logger = logging.getLogger(__name__)


def digest_code(root: Path) -> None:
    """Write artifacts/digest_code/code.json."""
    digests = write_digests(root)
    logger.info("digest_code done: stages=%d", len(digests))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tasks.digest_code", description=__doc__)
    parser.add_argument("stage", nargs="*", choices=[[], *dict.fromkeys((*STAGES, *TRANSFER_STAGES))], help="a stage")
    named = parser.parse_args().stage
    log_to_terminal()
    for name in named:
        logger.info("%s:\n%s", name, "\n".join(read_code(Path.cwd()).files_of(name)))
    if not named:
        digest_code(Path.cwd())
