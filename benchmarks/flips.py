"""Flip single bits all over a registered version, one at a time: `seam verify` has to find each and name its file.

    python benchmarks/flips.py models:/seam-shirt@champion             # 2,000, in every file by turns
    python benchmarks/flips.py FOLDER --count 500 --seed 1 --key mlflow/signing.pub

The version is copied; nothing of it is changed. Exit status 1 if one is missed, or anything but a finding comes back.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.provenance.fetch import fetch
from tasks.provenance.folder import files_in
from tasks.provenance.keys import public_keys
from tasks.provenance.signing import Trust
from tasks.provenance.verify import verify


@dataclass(frozen=True)
class Flip:
    """One bit of one file."""

    file: str
    byte: int
    bit: int


def flips(folder: Path, count: int, seed: int) -> Iterator[Flip]:
    """As many as asked for, in every file by turns, anywhere in it; empty files have none."""
    drawn = random.Random(seed)
    sizes = {name: path.stat().st_size for name, path in files_in(folder).items() if path.stat().st_size}
    for number in range(count):
        name = list(sizes)[number % len(sizes)]
        yield Flip(name, drawn.randrange(sizes[name]), drawn.randrange(8))


def outcome(folder: Path, flip: Flip, trust: Trust, source: Path | None) -> str | None:
    """Flip it, verify, flip it back; None: it was found and its file named, otherwise what came back."""
    path = folder / flip.file
    content = path.read_bytes()
    changed = bytearray(content)
    changed[flip.byte] ^= 1 << flip.bit
    try:
        path.write_bytes(changed)
        last = verify(folder, trust, source)[-1]
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    finally:
        path.write_bytes(content)
    if last.passed:
        return "not found"
    return None if flip.file in last.text else f"the file is not named: {last.text}"


def main() -> None:
    """Print what was missed, and how many were found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="models:/NAME@ALIAS, or a folder")
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key", type=Path, action="append", help="public key; default: mlflow/signing*.pub")
    asked = parser.parse_args()
    root = Path.cwd()
    trust = Trust(asked.key or public_keys(root))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        if asked.model.startswith("models:"):
            fetch(root, asked.model, folder)
        else:
            shutil.copytree(asked.model, folder)
        source = root / "artifacts" / "prepare_source"
        start = verify(folder, trust, source)
        if not start[-1].passed:
            sys.exit(f"{asked.model}: does not verify as it is: {start[-1].text}")
        began, missed = time.monotonic(), 0
        for flip in flips(folder, asked.count, asked.seed):
            if (wrong := outcome(folder, flip, trust, source)) is not None:
                missed += 1
                print(f"{flip}: {wrong}")
        files, seconds = len(files_in(folder)), time.monotonic() - began
        print(f"{asked.count - missed:,} of {asked.count:,} flips in {files} files found and named, {seconds:.0f} s")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
