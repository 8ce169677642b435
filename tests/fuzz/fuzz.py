"""Thousands of damaged inputs, each read as others read it or refused in one line.

    python tests/fuzz/fuzz.py                                   # 3,000, by a seed that is chosen and printed
    python tests/fuzz/fuzz.py --seed 7 --inputs 30000           # others, or more
    python tests/fuzz/fuzz.py --seed 7 --target npz --only 12   # one of them again

Exit status 1 where one is not; each is said with the command that makes it again.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import tasks  # noqa: E402, F401  switches telemetry off
from tests.fuzz import values  # noqa: E402
from tests.fuzz.judge import Case, Verdict  # noqa: E402
from tests.fuzz.programs import PROGRAMS, Program  # noqa: E402
from tests.fuzz.targets import TARGETS  # noqa: E402

NAMES = (*TARGETS, *PROGRAMS)


def begun(name: str, folder: Path) -> Case | Program:
    """A target, ready to be damaged."""
    return Case(name, folder) if name in TARGETS else PROGRAMS[name](folder)


def verdicts(names: Sequence[str], count: int, seed: int, folder: Path) -> Iterator[tuple[str, int, Verdict]]:
    """Of as many inputs as asked for, each target's share; (target, number, verdict)."""
    for place, name in enumerate(names):
        case = begun(name, folder / name.replace(" ", "_"))
        share = count // len(names) + (place < count % len(names))
        for number in range(share):
            yield name, number, case.tried(seed, number)


def again(name: str, seed: int, number: int) -> str:
    """The command that makes an input again."""
    return f"python tests/fuzz/fuzz.py --seed {seed} --target '{name}' --only {number}"


def main() -> None:
    """Print what is wrong, and how many were tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=NAMES, action="append")
    parser.add_argument("--only", type=int, help="this one of a target")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    seed = secrets.randbelow(1 << 31) if asked.seed is None else asked.seed
    names = asked.target or list(NAMES)
    print(f"seed {seed}, {len(names)} targets", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        if asked.only is not None:
            print(begun(names[0], Path(temporary) / "it").tried(seed, asked.only).outcome)
            return
        drawn = asked.inputs // 10 if asked.target is None else 0
        wrong = _all(names, asked.inputs - drawn, seed, Path(temporary))
        wrong += _values(drawn, seed, Path(temporary)) if drawn else 0
    sys.exit(wrong > 0)


def _all(names: Sequence[str], count: int, seed: int, folder: Path) -> int:
    began, wrong, found = time.monotonic(), 0, dict[str, Counter[str]]()
    for name, number, verdict in verdicts(names, count, seed, folder):
        if name not in found and found:
            _line(*list(found.items())[-1])
        found.setdefault(name, Counter())["wrong" if verdict.is_wrong else verdict.outcome] += 1
        if verdict.is_wrong:
            wrong += 1
            print(f"  {name} {number}: {verdict.outcome}\n    again: {again(name, seed, number)}", flush=True)
    _line(*list(found.items())[-1])
    tried = sum(sum(counts.values()) for counts in found.values())
    print(f"{tried:,} inputs, {wrong} wrong, {time.monotonic() - began:.0f} s")
    return wrong


def _values(count: int, seed: int, folder: Path) -> int:
    """Values that Hypothesis draws; of each kind its share."""
    wrong = 0
    for name in values.NAMES:
        try:
            values.tried(name, folder / name.replace(" ", "_"), seed, count // len(values.NAMES))
            print(f"{name}: {count // len(values.NAMES)} drawn", flush=True)
        except Exception as e:
            wrong += 1
            print(f"  {name}: {type(e).__name__}: {e}")
            print(f"    again: python tests/fuzz/fuzz.py --seed {seed} --inputs {count * 10}", flush=True)
    return wrong


def _line(name: str, counts: Counter[str]) -> None:
    print(f"{name:20} {', '.join(f'{counts[what]} {what}' for what in ('read', 'refused', 'wrong'))}", flush=True)


if __name__ == "__main__":
    main()
