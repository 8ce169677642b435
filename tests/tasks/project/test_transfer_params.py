"""The sections `targets` and `transfer` of params.yaml.

Names of students, percentages, presets, and what is said of bad values.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from seam.configs.methods import TransferConfig
from seam.errors import ConfigError
from seam.methods import METHODS as LIBRARY_METHODS
from seam.methods.presets import BACKDOOR_TEACHER, PRESETS
from tasks.project.params import change_params, load_params, parse_params
from tasks.project.students import METHODS, asked_removal, config_of
from tasks.project.transfer_params import TransferParams
from tests.defaults import ROOT, write_params


def test_the_sections_defaults_are_the_librarys() -> None:
    assert TransferParams().config == TransferConfig()
    assert tuple(LIBRARY_METHODS) == METHODS


def test_a_percentage_is_what_the_method_removes() -> None:
    config = TransferConfig(removal=0.4)
    assert config_of("seam", config) == config and config_of("magnitude-30", config) == replace(config, removal=0.3)
    assert config_of("remos-5", config) == replace(config, remos=replace(config.remos, ratio=0.05))
    assert [asked_removal(m, config) for m in ("standard", "seam", "seam-90", "remos", "retrain")] == [
        0.0,
        0.4,
        0.9,
        0.1,
        0.0,
    ]
    students = TransferParams(methods=("seam-30", "remos"), seeds=(3, 1)).students
    assert [(s.key, s.folder, s.base) for s in students[:2]] == [
        ("seam-30-3", "seam-30-seed3", "seam"),
        ("remos-3", "remos-seed3", "remos"),
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"transfer": {"methods": ["sem"]}}, "got 'sem'; did you mean 'seam'?"),
        ({"transfer": {"seeds": [0, 0]}}, "seeds must be different"),
        ({"transfer": {"register": "seam-50"}}, "register must be one of methods, got 'seam-50'"),
        ({"transfer": {"training": {"lrate": 1}}}, "unknown parameter 'transfer.training.lrate'"),
        ({"targets": {"f": {"kind": "npz"}}}, "targets.f: a target must have a path"),
        (
            {"targets": {"f": {"path": "f", "pat": "g"}}},
            "unknown parameter 'targets.f.pat'; did you mean 'targets.f.path'?",
        ),
        ({"targets": {"a": {"path": "f"}}}, "a target and a problem must have different names"),
    ],
)
def test_bad_parameters_are_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_params({"problems": {"a": ["x"]}, **changes}, "params.yaml")
    assert line in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["seam", "seam_dropout", "remos_resnet18", "remos_resnet50", "remos_backdoor"])
def test_preset_files_are_the_librarys_presets(name: str, tmp_path: Path) -> None:
    write_params(tmp_path / "params.yaml")
    change_params(tmp_path / "params.yaml", overlay=ROOT / "presets" / f"transfer-{name.replace('_', '-')}.yaml")
    loaded = load_params(tmp_path / "params.yaml").transfer
    assert asdict(loaded.config) == asdict(PRESETS[name])
    assert loaded.methods == METHODS
    assert loaded.defect == ("backdoor" if name == "remos_backdoor" else "features")
    if loaded.defect == "backdoor":
        assert loaded.backdoor.training == BACKDOOR_TEACHER
