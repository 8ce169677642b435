"""The data of tests that train: small images, as a project has its data."""

from __future__ import annotations

from pathlib import Path

from benchmarks.digits import write_digits

SMALL_DATA = "data/digits.npz"
"""Where it lies in a project of tests, and what their parameters name."""


def track_small_data(root: Path) -> None:
    """Write the digits, and record them as a user does, in data.dvc and in the remote, of which clones get them."""
    from dvc.repo import Repo

    write_digits(root / SMALL_DATA)
    with Repo(str(root)) as repo:
        repo.add([str(root / "data")])
        repo.push(targets=[str(root / "data.dvc")])
