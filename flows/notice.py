"""The Prefect flow `seam-notice`: what prefect.yaml starts when a run fails, crashes or is late."""

from __future__ import annotations

import logging
import os
import subprocess
from datetime import UTC, datetime

from prefect import flow

from flows.project import project_root, state_folder

logger = logging.getLogger(__name__)

PROGRAM = "SEAM_NOTIFY"
"""Environment variable of the worker: a shell command that gets the notice on its standard input."""
LIMIT_SECONDS = 60.0


@flow(name="seam-notice", description=__doc__, log_prints=False)
def tell(notice: str) -> None:
    """Add a line to .seam/notices.log, and hand it to the program that SEAM_NOTIFY names.

    Args:
        notice: which run, its state and message.
    """
    line = " ".join(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {notice}".split())
    with (state_folder(project_root()) / "notices.log").open("a") as f:
        f.write(f"{line}\n")
    program = os.environ.get(PROGRAM)
    if program:
        subprocess.run(program, shell=True, input=f"{line}\n", text=True, timeout=LIMIT_SECONDS, check=True)
