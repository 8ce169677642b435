"""Digest the code that each stage uses, for DVC: a stage is stale when its own digest changes.

`python -m tasks.digest_code`; with the names of stages it lists their files instead.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from tasks.project.code_digests import read_code, write_digests
from tasks.project.stage import log_to_terminal
from tasks.project.stages import all_stages

logger = logging.getLogger(__name__)


def digest_code(root: Path) -> None:
    """Write artifacts/digest_code/code.json."""
    digests = write_digests(root)
    logger.info("digest_code done: stages=%d", len(digests))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tasks.digest_code", description=__doc__)
    parser.add_argument("stage", nargs="*", help=f"one of: {', '.join(all_stages())}")
    named = parser.parse_args().stage
    if unknown := set(named) - set(all_stages()):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    log_to_terminal()
    for name in named:
        logger.info("%s:\n%s", name, "\n".join(read_code(Path.cwd()).files_of(name)))
    if not named:
        digest_code(Path.cwd())
