"""On which machine times were taken.

Results are valid wherever they are brought; times are kept too, with their machine, until somebody
asks for those of another: `seam run --here`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from seam.files import read_json
from seam.hardware import describe, in_words
from tasks.project.stages import all_stages
from tasks.project.subject import StageRun, stage_folder

ANEW = "seam run --here"
"""The command that takes times anew that were taken elsewhere."""


@lru_cache(maxsize=1)
def here() -> Mapping[str, Any]:
    """This machine, as `seam.hardware.describe` has it."""
    return describe()


def taken_anew(root: Path, run: StageRun, here: bool) -> bool:
    """Whether times of this machine are asked for (`here`), and those of a stage are of another."""
    return here and elsewhere(root, run) is not None


def elsewhere(root: Path, run: StageRun) -> str | None:
    """The machine, in words, where it is another than this one that the published times of a stage were taken on.

    None: they were taken here, or there are none.
    """
    times = all_stages()[run.stage].times
    if times is None:
        return None
    file, key = times
    path = stage_folder(root, run.stage, run.subject) / file
    machine = read_json(path).get(key) if path.is_file() else None
    same = not machine or all(machine.get(name) == value for name, value in here().items() if name != "cores")
    if same:  # how many cores a process may use is no matter: times are taken with `num_threads` of them
        return None
    return in_words(machine)
