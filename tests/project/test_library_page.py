"""The code in docs/library.md runs, in its order, on pictures of four kinds and a ResNet18 that was trained on them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from seam.configs.inference import ProfileConfig
from seam.configs.methods import PartlyConfig, RestructureConfig, TransferConfig
from seam.configs.training import FinetuneConfig, StudentTraining
from tests.seam.door.stripes import accuracy, fitted, floats, folder

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
QUICK = {
    "image_size=64": "image_size=16, mean=[0.5], std=[0.25], progress=False",
    'classes=["boot", "hat"], ': 'classes=["boot", "hat"], training=training, ',
    'restructure(network, "shop/train", ': 'restructure(network, "shop/train", config=restructure_config, ',
    'method="seam", removal=0.8': 'method="magnitude", removal=0.8, config=transfer_config',
}
"""What is written for people, and what makes it a matter of seconds."""
pytestmark = pytest.mark.filterwarnings("ignore::seam.errors.SuspectResultWarning")


@pytest.mark.slow
def test_what_the_page_says_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "shop")
    folder(tmp_path / "flowers")
    monkeypatch.chdir(tmp_path)
    for module in ("work", "restructure"):
        monkeypatch.setattr(f"seam.door.{module}.ProfileConfig", lambda: ProfileConfig(seconds=3.0, repeats=10))
    names: dict[str, Any] = {
        "weights": trained_resnet18(),
        "images": floats(4, 3)[0],
        "training": FinetuneConfig(epochs=1, lr=0.005),
        "restructure_config": RestructureConfig(threshold=0.0, max_drop=1.0, blocks=1, training=PartlyConfig(epochs=1)),
        "transfer_config": TransferConfig(training=StudentTraining(epochs=1)),
    }
    text = PAGE.read_text()
    for written, quick in QUICK.items():
        assert written in text
        text = text.replace(written, quick)
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    small = names["small"]
    assert small.classes == ("boot", "hat")
    assert names["logits"].shape == (4, 2)
    assert accuracy(small.network, [0, 2]) > 0.9
    assert small.report.result.macs < small.report.source.macs
    assert (tmp_path / "boots.onnx").is_file()
    assert sum(p.numel() for p in names["exact"].parameters()) < sum(p.numel() for p in names["network"].parameters())
    assert len(names["flatter"].removed) == 1
    assert {choice.name for choice in names["ranked"].choices if choice.reason is None} == {"ours", "fresh"}
    assert names["student"].classes == ("boot", "coat", "hat", "shoe")


def trained_resnet18() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=4)
    return fitted(network, torch.optim.SGD(network.parameters(), 0.02, 0.9), 25)
