"""Orchestration: the Prefect flow, the `seam` command line, the cache shared with DVC. No torch here."""

import os

from tasks.project import environment as _environment  # first: with it a program can be told to stop

from flows.project import find_root, package_root  # isort: skip

_environment.quiet()
os.environ.setdefault("PREFECT_HOME", str((find_root() or package_root()) / ".prefect"))
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
