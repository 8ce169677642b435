"""The code in docs/parts.md runs, in its order, on pictures of four kinds and small networks that know them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import seam.door.modularize
from seam.configs.modules import GradSplitterConfig, ModulesConfig
from tests.seam.door.stripes import CLASSES, Net, accuracy, fitted, folder, trained

PAGE = Path(__file__).parents[2] / "docs" / "parts.md"
QUICK = {
    "image_size=64": "image_size=16, mean=[0.5], std=[0.25], progress=False",
    'train="shop/val", image_size=16, mean=[0.5], std=[0.25], progress=False': 'train="shop/val", image_size=16',
    '"shop/train", class_names=names, image_size=16, mean=[0.5], std=[0.25], progress=False)\nprint(mended': (
        '"shop/train", class_names=names, image_size=16)\nprint(mended'
    ),
    "tolerance=0.02, shared=0.25": "tolerance=0.5, shared=0.5, cycles=1, mask_passes=4, lr_scores=0.1",
}
"""What is written for people, and what makes it a matter of seconds."""
FEW = ModulesConfig(
    gradsplitter=GradSplitterConfig(cycles=1, mask_passes=5, batch_size=32, lr_scores=0.08, tolerance=0.05)
)
pytestmark = pytest.mark.filterwarnings("ignore::seam.errors.SuspectResultWarning")


def weak() -> nn.Module:
    """Knows all kinds but coats."""
    network = trained()
    with torch.no_grad():
        network.linear.bias[1] -= 100.0
    return network


def test_what_the_page_says_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "shop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seam.door.modularize, "ModulesConfig", lambda: FEW)
    torch.manual_seed(1)
    other = Net()
    fitted(other, torch.optim.Adam(other.parameters(), 3e-3), 40)
    names: dict[str, Any] = {"network": trained(), "other": other, "weak": weak(), "names": CLASSES}
    text = PAGE.read_text()
    for written, quick in QUICK.items():
        assert written in text
        text = text.replace(written, quick)
    first = ""
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
        first = first or str(names["modules"])
    assert first.startswith("GradSplitter: 4 modules")
    assert names["two"].classes == ("boot", "hat") and accuracy(names["two"].network, [0, 2]) > 0.95
    assert (tmp_path / "two.onnx").is_file()
    assert names["again"].classes == CLASSES
    assert accuracy(names["best"].network, [0, 1, 2, 3]) > 0.9
    assert names["mended"].accepted and names["mended"].report.before.recall == 0
    stem = names["modules"].pieces["hat"].masks["stem.weight"]
    assert bool(stem.all())  # shared
