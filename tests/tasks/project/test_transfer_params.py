"""The sections `targets` and `transfer` of params.yaml.

Names of students, percentages, and what is said of bad values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seam.configs.methods import TransferConfig
from seam.errors import ConfigError
from seam.methods.catalogue import STUDENTS, names
from tasks.project.params import parse_params
from tasks.project.students import asked_removal, config_of
from tasks.project.transfer_params import TransferParams


def test_the_sections_defaults_are_the_librarys() -> None:
    assert TransferParams().config == TransferConfig()
    assert TransferParams().methods == names(STUDENTS)


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
    assert TransferParams(methods=("remos", "seam-30", "seam")).registered_method == "seam-30"
    assert TransferParams(methods=("remos", "retrain")).registered_method is None
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
        (
            {"transfer": {"settings": [{"lr": 1, "momentun": 0.9}]}},
            "unknown parameter 'transfer.settings.0.momentun'; did you mean 'transfer.settings.0.momentum'?",
        ),
        ({"transfer": {"settings": [{}, {"lr": -1}]}}, "transfer.settings.1.lr: lr must be null or > 0, got -1"),
        ({"transfer": {"settings": [{"lr": 1}, {"lr": 1}]}}, "settings must differ from each other"),
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
