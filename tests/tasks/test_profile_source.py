"""The stage that times widths: it measures where the search spends milliseconds, and else does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seam.errors import ConfigError, NoChannelsError
from seam.files import read_json
from seam.networks.build import build
from seam.networks.source import SourceInfo, load_source, save_source
from seam.search.time_table import load_times
from tasks.profile_source import profile_source
from tasks.project.params import parse_params
from tasks.project.stage import StageContext, execute

NETWORK = """
from torch import nn
def small(num_classes):
    body = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(4, num_classes))
def one_layer(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))
"""


def _context(root: Path, architecture: str = "net.py:small", **search: Any) -> StageContext:
    (root / "net.py").write_text(NETWORK)
    torch.manual_seed(0)
    folder = root / "artifacts/prepare_source"
    folder.mkdir(parents=True)
    info = SourceInfo(
        architecture=architecture,
        num_classes=3,
        classes=("dark", "grey", "light"),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        image_shape=(8, 8, 1),
        params_total=0,
    )
    save_source(build(architecture, 3), info, folder)
    values = {
        "problems": {"p": "dark"},
        "search": {"structure": "channels", **search},
        "profile_source": {"repeats": 10, "batch_size": 2, "seconds": 0.1},
    }
    return StageContext("profile_source", parse_params(values, "test"), root)


@pytest.fixture(autouse=True)
def _in_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_widths_of_the_source_are_timed(tmp_path: Path) -> None:
    context = _context(tmp_path, cost="milliseconds", channel_block=2)
    result = profile_source(context)
    source = load_source(context.folder("prepare_source"))
    table = load_times(context.artifact("profile_source", "times.json"), source.info.sha256)
    assert {t.layout["0"] for t in table.timed} <= {2, 4}
    assert result.summary["latency_ms_p50"] == table.latency_ms_p50
    assert result.files == ("artifacts/profile_source/times.json",)


def test_nothing_is_timed_where_milliseconds_are_not_the_cost(tmp_path: Path) -> None:
    context = _context(tmp_path, cost="macs")
    assert profile_source(context).summary == {"measured": False}
    assert read_json(context.artifact("profile_source", "times.json")) == {"measured": False}


def test_a_source_without_channels_says_what_to_change_and_publishes_nothing(tmp_path: Path) -> None:
    context = _context(tmp_path, "net.py:one_layer", cost="milliseconds")
    with pytest.raises(NoChannelsError, match=r"none of the channels .*; use search.structure: weights"):
        execute(profile_source, context)
    assert not context.folder("profile_source").exists()


def test_milliseconds_need_whole_channels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cost milliseconds needs whole channels, got structure weights"):
        _context(tmp_path, structure="weights", cost="milliseconds")
