"""Told to stop before a program has begun: it ends at once, with one line and the status that a signal gives.

Nothing but what Python itself has loaded is imported here: what takes time to import is guarded by it.
Once a program has begun it unwinds (`tasks.project.stopping`).
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

LINE = "interrupted; run again to continue"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CLEARED = "\r\x1b[2K\x1b[?25h"
"""In place of a progress bar, which hides the cursor."""
_said: list[str] = []


def guard_program() -> None:
    """Guard this process if it is a program of ours: `seam`, or `python -m flows...` and `tasks...`."""
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1] if sys.argv[:1] == ["-m"] else ""
    if sys.argv[:1] and (sys.argv[0].rpartition(os.sep)[2] == "seam" or module.partition(".")[0] in ("flows", "tasks")):
        guard()


def guard() -> None:
    """From now on end this process at once, with one line, when it is told to; what it ignores it goes on to ignore."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_at_once)


def say(line: str = LINE) -> None:
    """The line of a program that was told to stop, on standard error, once a process."""
    if _said:
        return
    _said.append(line)
    try:
        os.write(2, f"{_CLEARED if os.isatty(2) else ''}{line}\n".encode())
    except OSError:
        return


def _end_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    say()
    os._exit(128 + number)
