"""A process that has imported all that a run needs, and forks one for each that is asked for: it begins in no time.

    python zygote.py LOG     # in a project; its own code is run

A line of standard input is the words of a command (`run`), after `fsize=BYTES` where no file may be
larger; the answers are the process's number, and, when it has ended, its status.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import resource
import sys
import threading
from pathlib import Path

NEEDED = (
    *("flows.cli", "flows.subjects", "flows.pipeline", "flows.dvc_stages", "torch", "mlflow", "httpx"),
    *("great_expectations", "onnxruntime", "sqlalchemy.dialects.sqlite", "dvc.repo", "dvc.stage.cache"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
)


def main() -> None:
    """Import, then fork until standard input ends."""
    for name in (*NEEDED, *(f"tasks.{path.stem}" for path in Path("tasks").glob("*.py") if path.stem != "__init__")):
        importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()  # a forked process would miss the others
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            begin(line.split(), Path(sys.argv[1]))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def begin(words: list[str], log: Path) -> None:
    """Be `seam WORDS`, in a session of its own."""
    os.setsid()
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(number, target)
    logging.getLogger().handlers.clear()  # Prefect's, which a program that imports it later does not have yet
    if words[0].startswith("fsize="):
        most = int(words.pop(0).removeprefix("fsize="))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    sys.argv, status = ["seam", *words], 0
    try:
        importlib.import_module("flows.app").main()
    except SystemExit as e:
        status = int(e.code or 0)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)  # libraries would wait for threads of theirs that were not forked


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main()
