"""`seam check` on a project: the network that its parameters name, before anything else is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flows.commands.check import show_check_up

NETWORK = """
from torch import nn
def network(channels, num_classes):
    layers = nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes)
    return nn.Sequential(*layers)
def fits(num_classes): return network(3, num_classes)
def grey(num_classes): return network(1, num_classes)
def odd(num_classes): return network(2, num_classes)
"""
PARAMS = """
data: {{kind: npz, path: data.npz}}
problems: {{a: ["0"]}}
prepare_source: {{architecture: "net.py:{name}"}}
"""


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [("fits", 0, "3 logits"), ("grey", 0, "1 channels"), ("odd", 1, "3 channels, got one of 2; give images of 2")],
)
def test_says_what_it_found(
    name: str, status: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "params.yaml").write_text(PARAMS.format(name=name))
    x, y = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 3
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    before = sorted(tmp_path.iterdir())
    console = Console(record=True, width=200)
    assert show_check_up(tmp_path, console) == status
    assert words in " ".join(console.export_text().split())
    assert sorted(tmp_path.iterdir()) == before
