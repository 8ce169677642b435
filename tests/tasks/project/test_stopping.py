"""Told to stop: one line, the status that a signal gives, and nothing of what was being made."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tasks.project.guard import LINE
from tests.defaults import ROOT

STOPPED = """
import os, signal, sys, time
from tasks.project import stopping

class HalfMade:
    def __init__(self):
        os.kill(os.getpid(), signal.{number})
        time.sleep(60)
        self.whole = True

    def __del__(self):
        self.whole

with stopping.interruptible():
    {work}
"""


MET = "lambda self: (os.kill(os.getpid(), signal.{number}), time.sleep(0.5))"


def stopped(number: signal.Signals, work: str) -> tuple[int, str]:
    """Status and words of a program that a signal meets at some work."""
    code = STOPPED.format(number=number.name, work=work)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "work",
    [
        "HalfMade()",
        "kept = HalfMade()",
        "next(HalfMade() for _ in range(2))",
        "exec('try:\\n HalfMade()\\nfinally:\\n time.sleep(0.1)')",
    ],
)
def test_what_is_half_made_does_not_complain(number: signal.Signals, work: str) -> None:
    assert stopped(number, work) == (128 + number, f"{LINE}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_meets_a_destructor_is_not_lost(number: signal.Signals) -> None:
    work = f"HalfMade.__init__ = lambda self: None; HalfMade.__del__ = {MET.format(number=number.name)}; HalfMade(); "
    begun = time.monotonic()
    assert stopped(number, work + "time.sleep(60)") == (128 + number, f"{LINE}\n")
    assert time.monotonic() - begun < 10


def test_what_complains_while_nobody_stops_is_heard() -> None:
    code = "from tasks.project import stopping\nclass A:\n    def __del__(self):\n        self.whole\n"
    code += "with stopping.interruptible():\n    A()\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "AttributeError" in done.stderr
