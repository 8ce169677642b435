"""What tests have in place of the files a user edits: parameters, promotion policy, files as committed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tasks.project.params import Params
from tests.small_data import SMALL_DATA

ROOT = Path(__file__).resolve().parents[1]
PROBLEMS = {"digit-0": ["0"], "low-digits": ["0", "1", "2", "3", "4"]}
DATA = {"kind": "npz", "path": SMALL_DATA}
POLICY = """# As committed, but for made-up results of a few images: they may tell nothing.
alias: champion
evidence: {above_chance: false}
description: Takes uint8 images, returns class names and probabilities.
gates:
  accuracy_drop:
    against: source
    at_most: 0.005
    or_images: 1
    within: 1
  fewer_weights:
    against: source
    at_most: 0.5
  defect_inheritance_increase:
    against: standard_finetuned
    at_most: 0.0
    within: 1
transfer_gates:
  accuracy_drop:
    against: standard
    at_most: 0.02
    within: 1
  defect_inheritance_share:
    against: standard
    at_most: 0.5
network_gates:
  accuracy_drop:
    at_most: 0.005
    or_images: 1
    within: 1
"""


def write_params(path: Path, **sections: Any) -> Path:
    """Write every parameter at the default of its config to `path`, but the values of `sections`.

    `problems` and `targets` are replaced as a whole, any other section key by key.
    """
    document = Params.model_validate({"problems": PROBLEMS, "data": DATA}).model_dump(mode="json")
    for name, values in sections.items():
        if name in ("problems", "targets") or not isinstance(values, dict):
            document[name] = values
        else:
            document[name] |= values
    with path.open("w") as file:
        file.write("# Every number a user may change.\n")
        YAML().dump(document, file)
    return path


def give_registry(root: Path, store: Path) -> None:
    """A policy, and a copy of the store, to the project in `root`."""
    (root / "mlflow").mkdir(parents=True, exist_ok=True)
    (root / "mlflow/registry.yaml").write_text(POLICY)
    shutil.copyfile(store, root / "mlflow/mlflow.db")


def committed(name: str) -> str:
    """A file of the project as committed; skips the test where no git can tell it from an edited one."""
    command = ["git", "show", f"HEAD:./{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"not a git checkout: {name} may be the user's")
    return done.stdout
