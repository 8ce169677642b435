"""The one oracle: whatever comes is read as others read it, or refused in one line, in bounded time and memory."""

from __future__ import annotations

import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from seam.errors import SeamError
from tests.fuzz.targets import TARGETS, Refused, Target, Unreadable

MOST_SECONDS = 60
MOST_MEBIBYTES = 600
"""That reading one small input may take beyond what the process has."""
_LONGEST = 1_500


class Hangs(BaseException):
    """Not back in time."""


@dataclass(frozen=True)
class Verdict:
    """What became of one input."""

    outcome: str
    """`read`, `refused`, or what is wrong."""

    @property
    def is_wrong(self) -> bool:
        return self.outcome not in ("read", "refused")


class Case:
    """One target in a folder, damaged again and again."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder, self._target = name, folder, TARGETS[name]
        folder.mkdir(parents=True, exist_ok=True)
        self._path = self._target.make(folder)
        self._undamaged = quietly(self._target.read, self._path)
        self._files = {f: f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}

    def tried(self, seed: int, number: int) -> Verdict:
        """The verdict on an input, which is a function of (target, seed, number)."""
        draw = Random(f"{self.name}:{seed}:{number}")
        file = draw.choice([f for f in sorted(self._folder.glob(self._target.files)) if f.suffix != ".py"])
        file.write_bytes(draw.choice(self._target.damage)(self._files[file], draw))
        try:
            return judged(lambda: self._checked(self._target), self._folder)
        finally:
            file.write_bytes(self._files[file])

    def _checked(self, target: Target) -> str:
        value = quietly(target.read, self._path)
        try:
            right = self._undamaged if target.truth is None else target.truth(self._path)
        except Unreadable as e:
            if target.agrees(value, self._undamaged):
                return "read"  # what is damaged is no part of its meaning
            return f"read, and another reader refuses it: {str(e)[:200]}"
        return "read" if target.agrees(value, right) else "read as something else than another reader does"


def judged(read: Callable[[], str], folder: Path) -> Verdict:
    """What becomes of an input; nothing may be left in the folder, or taken away."""
    before, memory = sorted(folder.rglob("*")), _peak(reset=True)
    try:
        with within(MOST_SECONDS):
            outcome = read()
    except (SeamError, Refused) as e:
        said = str(e)
        outcome = "refused" if 0 < len(said) < _LONGEST and "\n" not in said else f"not one line: {said[:300]!r}"
    except Hangs:
        outcome = f"not back within {MOST_SECONDS} s"
    except Exception as e:
        outcome = f"{type(e).__name__}: {e}\n{traceback.format_exc()}"
    if sorted(folder.rglob("*")) != before:
        outcome = f"other files than before: {sorted(set(folder.rglob('*')) ^ set(before))}"
    grown = _peak() - memory
    return Verdict(f"{grown} MiB of memory" if grown > MOST_MEBIBYTES else outcome)


def quietly(read: Callable[[Path], Any], path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(path)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise `Hangs` in the block after so many seconds."""

    def ring(*_: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _peak(reset: bool = False) -> int:
    """Most memory that this process has had, in MiB, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024
