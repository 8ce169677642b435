"""What tests of compositions work on: parameters, and a project with modules of several sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.modularize import modularize
from tasks.prepare_source import prepare_source
from tasks.project.params import parse_params
from tasks.project.stage import StageContext
from tasks.project.stages import kind_of
from tasks.project.subject import Subject
from tasks.validate_data import validate_data
from tests.tasks.transfer_project import NETWORK, make_images

PARTS = {"method": "decomposition", "decomposition": {"form": "channels"}}
VALUES: dict[str, Any] = {
    "problems": {"warm": ["red"]},
    "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    "data": {"kind": "image_folder", "path": "flowers", "image_size": 16},
    "split_dataset": {"val_fraction": 0.4, "val_from": "train"},
    "prepare_source": {"architecture": "tiny.py:tiny", "epochs": 10, "batch_size": 8},
    "profile_source": {"repeats": 10, "batch_size": 2},
    "modularizations": {
        "good": PARTS,
        "weak": {**PARTS, "source": {"epochs": 1, "lr": 1e-6}},
        "other": {**PARTS, "source": {"mean": [0.1], "std": [0.5], "epochs": 1}},
    },
    "compositions": {"few": {"of": ["good"], "classes": ["red", "blue"]}, "best": {"of": ["weak", "good"]}},
}


def context(root: Path, stage: str, name: str = "few", **changes: Any) -> StageContext:
    """Of a stage of the project, of a composition, or of a modularization."""
    kind = kind_of(stage)
    subject = Subject(kind.name, name) if kind else None
    return StageContext(stage, parse_params({**VALUES, **changes}, "test"), root, subject)


def make_modules(root: Path, *names: str) -> Path:
    """Modules of the sources with these names."""
    make_images(root / "flowers")
    (root / "tiny.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(root)
        validate_data(context(root, "validate_data"))
        prepare_source(context(root, "prepare_source"))
        for name in names:
            modularize(context(root, "modularize", name))
    return root
