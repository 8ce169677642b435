"""The front door to a network of fewer blocks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import seam
from seam.configs.inference import ProfileConfig
from seam.configs.methods import PartlyConfig, RestructureConfig
from seam.configs.search import SearchConfig
from seam.configs.training import FinetuneConfig
from seam.errors import DataError, SourceError
from tests.seam.blocks import Chain
from tests.seam.door.stripes import CLASSES, MEAN, STD, accuracy, fitted, floats, folder, pixels, trained

BRIEF = RestructureConfig(
    threshold=0.5,
    blocks=1,
    images=64,
    batch_size=32,
    random_draws=2,
    trained_share=0.5,
    training=PartlyConfig(epochs=2, batch_size=16, lr=0.005, lr_full=0.002),
)
pytestmark = pytest.mark.filterwarnings("ignore::seam.errors.SuspectResultWarning")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.door.restructure.ProfileConfig", lambda: ProfileConfig(seconds=1.0, repeats=10))
    monkeypatch.setattr("seam.door.work.ProfileConfig", lambda: ProfileConfig(seconds=1.0, repeats=10))


@cache
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = Chain(len(CLASSES))
    return fitted(network, torch.optim.Adam(network.parameters(), 3e-3), 60)


def chain() -> Chain:
    network = Chain(len(CLASSES))
    network.load_state_dict(weights())
    return network.eval()


def test_a_network_of_fewer_blocks_from_a_folder(tmp_path: Path) -> None:
    network = chain()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    made = seam.restructure(
        network, folder(tmp_path / "stripes"), mean=[MEAN], std=[STD], config=BRIEF, folder=tmp_path, progress=False
    )
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert made.blocks == ("stem", "gate", "first", "wider", "rest.0", "rest.1") and made.classes == CLASSES
    (gone,) = made.removed
    assert gone in ("first", "rest.0", "rest.1")
    assert set(made.network.state_dict()) == {k for k in before if not k.startswith(f"{gone}.")}
    parts = tuple(f"{name}." for name in made.trained)
    assert all(torch.equal(v, before[k]) for k, v in made.network.state_dict().items() if not k.startswith(parts))
    assert made.cka.shape == (7, 7) and made.segments[-1][1] == 7
    assert [c.name for c in made.controls] == ["random", "random", "last", "full"]
    assert accuracy(made.network, [0, 1, 2, 3]) > 0.9
    report = made.report
    assert report.result.macs < report.source.macs and report.result.params_total < report.source.params_total
    assert report.result.accuracy == made.change.val_accuracy
    assert report.source.latency_ms_p50 and report.result.latency_ms_p50
    assert "DeepArc, 1 of 6 blocks removed" in str(report)
    json.dumps(report.to_dict())
    assert seam.export(made, tmp_path / "flatter.onnx").is_file()


def test_channels_go_after_blocks() -> None:
    made = seam.restructure(chain(), pixels(64, 0), val=pixels(32, 1), mean=[MEAN], std=[STD], config=BRIEF)
    small = seam.reengineer(
        made.network,
        pixels(64, 0),
        ["1", "2"],
        val=pixels(32, 1),
        mean=[MEAN],
        std=[STD],
        search_config=SearchConfig(
            method="one_pass",
            structure="channels",
            cost="macs",
            target=0.6,
            accuracy_floor=0.0,
            batch_size=16,
            channel_block=1,
        ),
        training=FinetuneConfig(epochs=2, lr=0.02, lr_head=0.02, momentum=0.9, batch_size=16),
        progress=False,
    )
    assert small.report.result.macs < small.report.source.macs == made.report.result.macs
    assert accuracy(small.network, [1, 2]) > 0.9


def test_images_of_a_loader_are_not_augmented_again() -> None:
    loader = DataLoader(TensorDataset(*floats(64, 0)), batch_size=16)
    made = seam.restructure(chain(), loader, val=floats(32, 1), config=BRIEF, progress=False)
    assert made.report.settings["restructure"]["training"]["augment"] == "none"
    assert made.report.result.accuracy > 0.9


def test_bad_input_is_one_line() -> None:
    with pytest.raises(SourceError, match=r"^Net: expected residual blocks"):  # its shortcut is in its own code
        seam.restructure(trained(), pixels(64, 0), val=pixels(32, 1), mean=[MEAN], std=[STD], progress=False)
    with pytest.raises(DataError, match="at least 4 images, got 3"):
        seam.restructure(chain(), pixels(3, 0), val=pixels(32, 1), mean=[MEAN], std=[STD], progress=False)
    with pytest.raises(SourceError, match="expected class scores"):
        seam.restructure(nn.Conv2d(3, 4, 3), pixels(8, 0), val=pixels(8, 1), mean=[MEAN], std=[STD], progress=False)
